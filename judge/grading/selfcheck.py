"""make grade-check: grades the made-up class, and looks at what that did to this machine.

The class is graded by the command that an instructor types, in a process of its own: once
to be interrupted, once to go on from there, and once anew. Each submission has to become
what samples.py says, both tables have to be the same, and nothing may be left: no file
outside of the output and the cache, no process.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Sequence

from .. import cache, leftovers
from ..build import BuildFailed
from ..stages import BY_NAME, TREE
from . import results, samples, sandbox, scan, weights
from .classroom import CSV, slug
from .compile import Workshop, compile
from .judging import GRADED, NOT_GRADABLE, Judge, OnKernel, Record, scratch_folder
from .samples import Ground, Sample
from .sandbox import Sandbox
from .submission import NotGradable, take

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
OUR_VARIABLES = ("KERNEL", "KDIR", "KIMAGE", "SANDBOX", "KMSGPIPE_CACHE", "PATH", "JOBS", "TERM")


def _files(folders: Sequence[Path], but: Sequence[Path]) -> dict[str, tuple]:
    """Every file below the folders, with what would change if somebody touched it."""
    found = {}
    for top in folders:
        for at, below, names in os.walk(top):
            below[:] = [name for name in below if Path(at, name) not in but and name != ".git"]
            for name in (*names, *below):
                path = os.path.join(at, name)
                about = os.lstat(path)
                found[path] = (about.st_mode, about.st_uid, about.st_ino, about.st_nlink,
                               0 if name in below else about.st_mtime_ns)  # fmt: skip
    return found


class Check:
    """One run of it; problems are collected, not raised."""

    def __init__(self, place: Path, small: bool):
        self.small = small
        self.stage = BY_NAME["lab1" if small else "lab3"]
        self.place = place
        self.home, self.tmp = place / "home", place / "tmp"
        self.submissions = place / "class"
        self.problems: list[str] = []
        for folder in (self.home, self.tmp, self.submissions):
            folder.mkdir(parents=True)
        self.ground = Ground(self.submissions, self.stage, self.home / "canary")
        self.samples = samples.of(self.stage, small)

    def make(self) -> None:
        for sample in self.samples:
            sample.make(self.ground, self.submissions / sample.name)

    def forget(self, judge: Judge) -> None:
        """What an earlier check has kept: each is to be judged in this one."""
        for sample in self.samples:
            with contextlib.suppress(NotGradable):
                judge.keeper.forget(take(self.submissions / sample.name, self.stage))

    def command(self, out: str, fresh: bool) -> subprocess.Popen:
        """make grade, as an instructor would type it, with a home and a /tmp to watch."""
        env = {name: os.environ[name] for name in OUR_VARIABLES if name in os.environ}
        env |= {"HOME": str(self.home), "TMPDIR": str(self.tmp), "STAGE": self.stage.name,
                "SUBMISSIONS": str(self.submissions), "OUT": str(self.place / out),
                "FRESH": "1" if fresh else "", "KMSGPIPE_CACHE": str(cache.root())}  # fmt: skip
        return subprocess.Popen(
            [TREE / "judge/run", "grade"], env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def graded(self, out: str, fresh: bool, show: bool = False) -> str:
        """Runs it to its end; what it printed."""
        text = ""
        with self.command(out, fresh) as running:
            for line in running.stdout:
                text += line
                if show:
                    print(line, end="")
        if running.returncode != 1:  # some are not gradable
            self.problems.append(
                f"make grade ended with {running.returncode}, not 1:\n{text[-2000:]}"
            )
        return text

    def interrupted(self, out: str) -> None:
        """Ctrl-C in the middle of a class: it ends at once, and leaves nothing running."""
        with self.command(out, fresh=True) as running:
            for line in running.stdout:
                if "/100  " in line:
                    break
            start = time.monotonic()
            os.killpg(running.pid, signal.SIGINT)
            rest = running.stdout.read()
        seconds = time.monotonic() - start
        print(f"interrupted: it ended with status {running.returncode} after {seconds:.1f} s")
        if running.returncode != 130:
            self.problems.append(
                f"after Ctrl-C the status is {running.returncode}:\n{rest[-2000:]}"
            )
        if (self.place / out / CSV).exists():
            self.problems.append("there is a table of a class that was interrupted")
        self.look_for_processes()

    def look_for_processes(self) -> None:
        """Nothing that was started may live on; we are the parent of whatever was left."""
        left = leftovers.processes()
        if left:
            self.problems.append(f"left behind: {', '.join(left)}")

    def look_at_files(self, before: dict[str, tuple]) -> None:
        after = _files(*self.watched)
        for path in sorted(set(before) | set(after)):
            if before.get(path) != after.get(path):
                what = "new" if path not in before else "gone" if path not in after else "changed"
                self.problems.append(f"{what}: {samples_name(path)}")
        if self.ground.canary.exists():
            self.problems.append("a submission ran something on this machine")

    @property
    def watched(self) -> tuple[list[Path], list[Path]]:
        outputs = [self.place / "first", self.place / "second", cache.root()]
        return [TREE, self.home, self.tmp, self.submissions], outputs

    def look_at_table(self, out: str) -> None:
        """What each became: from the records themselves, as make grade keeps them."""
        text = (self.place / out / CSV).read_text()
        if CONTROL.search(text) or re.search(r"(?m)(^|,)\"?[=+@-]", text):
            self.problems.append(f"{CSV} has a formula or control characters in it")
        for sample in self.samples:
            for name in results.FILES:
                path = self.place / out / slug(sample.name) / name
                written = path.read_text() if path.exists() else ""
                if not written:
                    self.problems.append(f"{samples_name(sample.name)}: no {name}")
                if CONTROL.search(written) or "<img" in written or "<script" in written.replace(
                        "&lt;script", "") and name.endswith(("html", "xml")):  # fmt: skip
                    self.problems.append(f"{samples_name(sample.name)}: {name} can be taken over")

    def look_at_samples(self, judge: Judge) -> None:
        """From the kept records: nothing is judged a second time here."""
        marks = weights.read(weights.FILE, judge.courses[0].tests)
        for sample in self.samples:
            record = judge.judge(self.submissions / sample.name, self.stage)
            wrong = sample.wrong(results.grade(sample.name, record, marks), judge.sandbox.kind)
            if wrong:
                self.problems.append(f"{samples_name(sample.name)}: {wrong}")
        print(f"{len(self.samples)} submissions looked at")

    def look_at_sandboxes(self, judge: Judge) -> None:
        """What only a compiler can tell, in the other kinds of sandbox that work here."""
        marks = weights.read(weights.FILE, judge.courses[0].tests)
        for kind in sandbox.KINDS:
            if kind == judge.sandbox.kind:
                continue
            with scratch_folder() as probe:
                if kind != "none" and not sandbox.works(kind, probe):
                    print(f"{kind}: does not work here")
                    continue
            wrong = 0
            for sample in (one for one in self.samples if self._for_a_compiler(one)):
                record = self._compiled(sample, judge, kind)
                grade = results.grade(sample.name, record, marks)
                if why := sample.wrong(grade, kind, judged=False):
                    self.problems.append(f"{samples_name(sample.name)} ({kind}): {why}")
                    wrong += 1
            print(f"{kind}: compilers steered as they can be, {wrong} problems")

    def _for_a_compiler(self, sample: Sample) -> bool:
        """Neither refused before it is compiled, nor an honest driver."""
        if (
            sample.becomes not in (samples.REFUSED, samples.NO_MODULE)
            and not sample.without_sandbox
        ):
            return False
        try:
            for data in take(self.submissions / sample.name, self.stage).files.values():
                scan.plain(sample.name, data.decode("utf-8", "replace"))
        except NotGradable:
            return False
        return True

    def _compiled(self, sample: Sample, judge: Judge, kind: str) -> Record:
        submission = take(self.submissions / sample.name, self.stage)
        workshop = Workshop(Sandbox(kind), judge.courses[0].kernel)
        kernel = OnKernel("stock", "")
        try:
            with scratch_folder() as scratch:
                compile(submission, workshop, scratch)
        except NotGradable as refused:
            return Record(NOT_GRADABLE, self.stage.name, str(refused))
        except BuildFailed as failed:
            kernel.compiles, kernel.messages = False, str(failed)
        return Record(GRADED, self.stage.name, kernels=[kernel])

    def same(self, one: str, other: str) -> None:
        if (self.place / one / CSV).read_bytes() != (self.place / other / CSV).read_bytes():
            self.problems.append(f"two runs do not agree: {one}/{CSV} and {other}/{CSV}")
            lines = [(self.place / out / CSV).read_text().splitlines() for out in (one, other)]
            self.problems += [f"  {a}\n  {b}" for a, b in zip(*lines) if a != b]


def samples_name(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def run(judge: Judge, small: bool) -> int:
    """All of it; 1 if anything is not as it has to be."""
    leftovers.adopt_orphans()
    place = cache.root() / "grade-check"
    start = time.monotonic()
    with cache.lock("grade-check"):
        cache.remove(place)
        check = Check(place, small)
        try:
            check.make()
            check.forget(judge)
            before = _files(*check.watched)
            if not small:
                check.interrupted("first")
            said = check.graded("first", fresh=small, show=True)
            check.look_for_processes()
            if CONTROL.search(said):
                check.problems.append("what it printed has control characters in it")
            check.look_at_table("first")
            check.look_at_samples(judge)
            if not small:
                check.graded("second", fresh=True)
                check.look_at_table("second")
                check.look_at_sandboxes(judge)
            else:
                check.graded("second", fresh=False)
            check.same("first", "second")
            check.look_for_processes()
            check.look_at_files(before)
        finally:
            if not check.problems:
                cache.remove(place)
    for problem in check.problems:
        print(problem)
    print(f"grade-check: {len(check.samples)} submissions, {len(check.problems)} problems "
          f"({time.monotonic() - start:.0f} s)")  # fmt: skip
    if check.problems:
        print(f"what was written is in {place}")
    return 1 if check.problems else 0
