"""make lab3 hint: three hints for each test, from judge/hints/*.txt, one at a time.

A file has one paragraph for each test, in this form:

    name_of_the_test
    1. A question that leads to the cause.
       Lines that go on are indented.
    2. The kernel's function, or the idea.
    3. Where in the file to look, and for what.

None of them is the solution. Behind the name may stand stages (`name lab1`) where the
same test asks for something else than in the others. A test that is run as a 32-bit
program, too, has the same hints there.
"""

from __future__ import annotations

import os
import re
import textwrap
from functools import lru_cache
from typing import Sequence

from . import desk, record
from .errors import UsageError
from .stages import TREE, Stage
from .tests import TestInfo

FOLDER = TREE / "judge/hints"
LEVELS = 3
WIDTH = 80
HEADING = re.compile(r"^(\w+)((?: (?:lab\d|capstone))*)$")
HINT = re.compile(r"^([1-3])\. (.*\S)$")
TWIN = "_in_32_bits"

Hints = dict  # (test, stage or "") -> the three hints


class BadHints(Exception):
    """A file of hints that breaks the rules above."""


def parse(text: str, name: str = "") -> Hints:
    found: Hints = {}
    for paragraph in re.split(r"\n{2,}", text.strip()):
        lines = [line for line in paragraph.splitlines() if not line.startswith("#")]
        if not lines:
            continue
        heading = HEADING.match(lines[0])
        if not heading:
            raise BadHints(f"{name}: `{lines[0]}` is not the name of a test")
        hints: list[str] = []
        for line in lines[1:]:
            start = HINT.match(line)
            if start and int(start[1]) == len(hints) + 1:
                hints.append(start[2])
            elif hints and line.startswith("   ") and line.strip():
                hints[-1] += f" {line.strip()}"
            else:
                raise BadHints(f"{name}: {heading[1]}: `{line}` is neither a hint nor part of one")
        if len(hints) != LEVELS:
            raise BadHints(f"{name}: {heading[1]} has {len(hints)} hints, not {LEVELS}")
        for stage in heading[2].split() or [""]:
            if (heading[1], stage) in found:
                raise BadHints(f"{name}: {heading[1]} stands there twice")
            found[heading[1], stage] = hints
    return found


@lru_cache(maxsize=None)
def every() -> Hints:
    found: Hints = {}
    for path in sorted(FOLDER.glob("*.txt")):
        new = parse(path.read_text(encoding="utf-8"), path.name)
        for test, _ in new.keys() & found.keys():
            raise BadHints(f"{path.name}: {test} has hints in another file, too")
        found.update(new)
    return found


def of(test: str, stage: str) -> list[str]:
    """The hints for a test at this stage; [] if it has none."""
    name = test[: -len(TWIN)] if test.endswith(TWIN) else test
    return every().get((name, stage)) or every().get((name, "")) or []


# -- the verb ---------------------------------------------------------------------------


def _test_to_help_with(stage: Stage, known: record.Entry) -> str:
    only = os.environ.get("TESTS", "").replace(",", " ").split()
    if len(only) > 1:
        raise UsageError("one test at a time: TESTS= with one name")
    if only:
        if not of(only[0], stage.name):
            raise UsageError(f"TESTS={only[0]}: no test has that name")
        return only[0]
    if not known.source:
        raise UsageError(f"what to help with? First make {stage.name} test")
    if not known.compiles and known.source == record.digest(stage):
        raise UsageError(f"your {stage.name} does not compile: make {stage.name} says where")
    return known.failing[0] if known.failing else ""


def _fill(label: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=f"  {label}  ", subsequent_indent="     ",
                         break_on_hyphens=False, break_long_words=False)  # fmt: skip


def give(stage: Stage, tests: Sequence[TestInfo]) -> int:
    """Prints the hints given so far for the failure to work on, and one more."""
    mine = desk.need_own(stage)
    known = record.entry(mine)
    name = _test_to_help_with(mine, known)
    if not name:
        print(f"{stage.name}: no test fails; make {stage.name} test says what is next")
        return 0
    test = next(one for one in tests if one.name == name)
    if not test.judges(stage.number):
        raise UsageError(f"TESTS={name}: that test is not one of {stage.name}'s")
    key = name[: -len(TWIN)] if name.endswith(TWIN) else name
    given = min(known.hints.get(key, 0) + 1, LEVELS)
    record.note_hint(mine, key, given)
    print(f"{stage.name}: {test.says}")
    print(f"      {name}, docs/labs/{test.page}")
    if known.source != record.digest(mine):
        print("      as of the last test; your source has changed since")
    print()
    for level, hint in enumerate(of(name, stage.name)[:given], 1):
        print(_fill(str(level), hint))
    left = LEVELS - given
    print()
    if left:
        print(f"{left} more: make {stage.name} hint")
    else:
        print(f"That is all there is. The reference beside yours: make {stage.name} solution")
    return 0

