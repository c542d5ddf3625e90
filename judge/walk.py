"""make walk: a student's way through labs 1 to 3, by the commands alone.

Start, fail, three hints, then the reference's hunks one at a time with a test after each,
pass, progress, the next lab. It works in a work/ of its own. Each command runs as somebody
would type it, with its output in a pipe: no colour, no more than 80 columns, nothing of
kbuild's. What the student sees on the way has to help; the reference's last hunk has to end
in a pass.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Iterator, Sequence

from . import diff
from .docs import MAKE_VARIABLES
from .stages import STAGES, TREE, Stage, shown

LABS = STAGES[:3]
FEWEST_HUNKS = 3
WIDTH = 80
COMMAND_SECONDS = 900
FIRST = "Work on this one first:"
NOT_COMPILED = "does not compile:"
# What belongs to kbuild, and not to a student's terminal.
NOISE = re.compile(r"^(make\[|  (CC|LD|MODPOST) |.*cc1: some warnings)", re.M)
# Lines of the compiler may be as long as the code is.
COMPILER = re.compile(r"\.[ch]:\d+|^ +\d* \||^ERROR: modpost|\bIn file included|^ +from ")


class Stumbled(Exception):
    """The text says at which command, and why."""


@dataclass(frozen=True)
class Done:
    """A command, and what came of it."""

    typed: str
    status: int
    text: str

    def need(self, right: object, why: str) -> None:
        if not right:
            raise Stumbled(f"$ {self.typed}\n{self.text.rstrip()}\n\nmake walk: {why}")


@dataclass(frozen=True)
class Student:
    """Types commands; has a work/ and an environment of its own."""

    work: Path

    def types(self, stage: str, verb: str, *more: str) -> Done:
        words = [word for word in (stage, verb, *more) if word]
        env = {name: value for name, value in os.environ.items()
               if name not in (*MAKE_VARIABLES, "REF", "FORCE", "TESTS", "V")}  # fmt: skip
        ran = subprocess.run(
            ["make", *words], cwd=TREE, env={**env, "KMSGPIPE_WORK": str(self.work)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=COMMAND_SECONDS,
        )  # fmt: skip
        done = Done(f"make {' '.join(words)}", ran.returncode, ran.stdout)
        done.need("\033" not in done.text, "it sends escapes to a pipe")
        done.need(not NOISE.search(done.text), "something of kbuild's is in it")
        # The place of this work/ is longer than the usual one.
        rows = done.text.replace(f"{self.work}", "work").splitlines()
        wide = [row for row in rows if len(row) > WIDTH and not COMPILER.search(row)]
        done.need(not wide, f"wider than {WIDTH} columns: {wide[:1]}")
        return done

    def source(self, stage: Stage) -> Path:
        return replace(stage, tree=self.work).path


def steps(old: str, new: str) -> Iterator[str]:
    """The texts on the way from old to new: one hunk more in each, from top to bottom."""
    before, after = old.splitlines(True), new.splitlines(True)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for context in (3, 0):
        hunks = list(matcher.get_grouped_opcodes(context))
        if len(hunks) >= FEWEST_HUNKS:
            break
    for hunk in hunks:
        _, _, old_end, _, new_end = hunk[-1]
        yield "".join([*after[:new_end], *before[old_end:]])


def _fails(done: Done, stage: Stage) -> str:
    """A test that fails has to help; what it says first."""
    done.need(done.status, "it ends with status 0, and the lab is not done")
    if NOT_COMPILED in done.text:
        done.need(f"{shown(Path(stage.source)).rpartition('/')[2]}:" in done.text,
                  "no line of the student's source is named")  # fmt: skip
        return "does not compile"
    done.need(FIRST in done.text, "it does not say what to work on first")
    about = done.text.partition(FIRST)[2]
    for part in ("FAIL", "docs/labs/", f"make {stage.name} hint"):
        done.need(part in about, f"{part} is missing")
    counted = re.search(r"(\d+ of \d+) behaviours hold", done.text)
    name = re.search(r"^ {8}(\w+): ", about, re.M)
    done.need(counted and name, "it does not count, or names no test")
    return f"{counted[1]}, first {name[1]}"


def _hints(student: Student, stage: Stage) -> str:
    seen: list[str] = []
    for level in (1, 2, 3):
        done = student.types(stage.name, "hint")
        done.need(not done.status, "no hint")
        hints = re.findall(r"^  [123]  ", done.text, re.M)
        done.need(len(hints) == level, f"{len(hints)} hints are shown, and not {level}")
        done.need(all(line in done.text for line in seen), "an earlier hint is gone")
        seen = [line for line in done.text.splitlines() if line.startswith("     ")]
    return "three hints, one at a time"


def _lab(student: Student, stage: Stage, tell: Callable[[str, str], None]) -> None:
    done = student.types(stage.name, "start")
    done.need(not done.status, "it does not start")
    before = stage.before
    done.need(not before or f"your own {before.name}, which passes" in done.text,
              "it is not made from the lab before")  # fmt: skip
    tell(done.typed, done.text.splitlines()[1].strip())

    done = student.types(stage.name, "test")
    tell(done.typed, _fails(done, stage))
    tell(f"make {stage.name} hint", _hints(student, stage))

    path = student.source(stage)
    reference = diff.read(TREE / stage.source)
    texts = list(steps(diff.read(path), reference))
    for number, text in enumerate(texts, 1):
        path.write_text(text, encoding="utf-8")
        done = student.types(stage.name, "test")
        last = number == len(texts)
        if not last:
            said = _fails(done, stage)
        else:
            done.need(not done.status, "the reference does not pass")
            done.need(f"make {STAGES[stage.number].name} start" in done.text,
                      "a pass does not name the next step")  # fmt: skip
            said = "passes, and names the next step"
        tell(f"{done.typed} (hunk {number} of {len(texts)})", said)

    done = student.types("", "progress")
    row = re.search(rf"^{stage.name} .*$", done.text, re.M)
    done.need(row and " 3  passed" in row[0], "it does not show the lab as passed, with 3 hints")
    done.need(f"make {STAGES[stage.number].name} start" in done.text, "what is next?")
    tell(done.typed, row[0])


def run(labs: Sequence[Stage] = LABS) -> int:
    start = time.monotonic()
    count = 0

    def tell(typed: str, said: str) -> None:
        nonlocal count
        count += 1
        print(f"ok  {typed}: {said}", flush=True)

    with tempfile.TemporaryDirectory(prefix="kmsgpipe-walk-") as folder:
        student = Student(Path(folder) / "work")
        try:
            for stage in labs:
                _lab(student, stage, tell)
        except Stumbled as stumbled:
            print(stumbled)
            return 1
        except subprocess.TimeoutExpired as late:
            print(f"make walk: {' '.join(late.cmd)} has not ended after {late.timeout:.0f} s")
            return 1
    print(f"walk: {count} steps through {' '.join(stage.name for stage in labs)} "
          f"({time.monotonic() - start:.0f} s)")  # fmt: skip
    return 0
