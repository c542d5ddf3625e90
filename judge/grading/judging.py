"""One submission, from its files to a record: what became of each behaviour, and why.

A record says nothing about time, processes or addresses, so two runs agree on it. It is
kept by the content of the submission, and of all that judges it: a class that was
interrupted goes on where it was, and new weights need no new run.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Iterator, Sequence

from .. import cache, klog
from ..build import Built, BuildFailed
from ..kernel import Kernel
from ..stages import TREE, Stage
from ..tests import TestInfo
from ..trial import Trial, Verdict
from ..vm import Machine
from . import scan
from .compile import Workshop, compile
from .sandbox import Room, Sandbox
from .submission import NotGradable, Submission, take

DOOR = ".lock"
MOST_REPORTS = 2  # as on the terminal: what follows is what the first has led to
# What differs from run to run in the kernel's words: addresses, processes, CPUs.
VARIES = (
    (re.compile(r"\b(?:0x)?[0-9a-f]{12,16}\b"), "..."),
    (re.compile(r"\b(CPU|PID|UID): \d+ ?"), ""),
    (re.compile(r"\b(T|C)\d+\b"), ""),
    (re.compile(r"/\d+\b"), ""),
)

GRADED, NOT_GRADABLE, NOT_TESTED = "graded", "not gradable", "could not test"


@dataclass
class Behaviour:
    """What became of one test, ready to be written down."""

    name: str
    says: str
    page: str
    passed: bool
    verdict: str
    did: str = ""
    wanted: str = ""
    saw: str = ""
    note: str = ""
    kernel: list[str] = field(default_factory=list)


@dataclass
class OnKernel:
    """All behaviours on one kernel."""

    name: str  # stock, debug, ...
    label: str
    behaviours: list[Behaviour] = field(default_factory=list)
    messages: str = ""  # the compiler's
    compiles: bool = True

    @property
    def held(self) -> int:
        return sum(one.passed for one in self.behaviours)


@dataclass
class Record:
    """What became of one submission."""

    outcome: str
    stage: str = ""
    why: str = ""
    origin: str = ""
    fingerprint: str = ""  # of the source, without comments and blanks
    kernels: list[OnKernel] = field(default_factory=list)

    @property
    def graded(self) -> bool:
        return self.outcome == GRADED

    @property
    def compiles(self) -> bool:
        return all(one.compiles for one in self.kernels)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        data = json.loads(text)
        kernels = [OnKernel(**{**one, "behaviours": [Behaviour(**b) for b in one["behaviours"]]})
                   for one in data.pop("kernels")]  # fmt: skip
        return cls(**data, kernels=kernels)


@dataclass(frozen=True)
class Course:
    """A kernel to judge on: its machine, and the tests that can be run there."""

    name: str
    kernel: Kernel
    machine: Machine
    tests: tuple[TestInfo, ...]

    def tests_of(self, stage: Stage) -> list[TestInfo]:
        return [test for test in self.tests if test.judges(stage.number)]


# -- kept records -----------------------------------------------------------------------


def _judge_digest() -> str:
    """Of everything that a verdict depends on, but for the submission and the kernel."""
    files = [*(TREE / "judge").rglob("*.py"), *(TREE / "include").glob("*.h")]
    files += [path for path in TREE.glob("*/Makefile")]
    mine = sorted(path for path in files if "unit" not in path.parts)
    return cache.digest(*(part for path in mine for part in (str(path.relative_to(TREE)), path)))


class Keeper:
    """Records by content, in the cache."""

    def __init__(self, courses: Sequence[Course], sandbox: Sandbox, fresh: bool = False):
        parts = [_judge_digest(), sandbox.kind]
        for course in courses:
            about = course.machine
            parts += [course.name, course.kernel.label, str(course.kernel.kdir), str(about.initrd),
                      *(f"{test}" for test in course.tests)]  # fmt: skip
        self._base = cache.digest(*parts)
        self._fresh = fresh
        self.folder = cache.root() / "grades"

    def _path(self, submission: Submission) -> Path:
        parts: list[str | bytes] = [self._base, submission.stage.name]
        for name, data in sorted(submission.files.items()):
            parts += [name, data]
        return self.folder / f"{cache.digest(*parts)}.json"

    def recall(self, submission: Submission) -> Record | None:
        if self._fresh:
            return None
        try:
            return Record.from_json(self._path(submission).read_text())
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self, submission: Submission) -> None:
        self._path(submission).unlink(missing_ok=True)

    def keep(self, submission: Submission, record: Record) -> None:
        self.folder.mkdir(exist_ok=True)
        cache.write_atomic(self._path(submission), record.to_json())


# -- judging ----------------------------------------------------------------------------


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in the cache that is gone afterwards; also those of a run that was killed."""
    top = cache.root() / "grading"
    top.mkdir(exist_ok=True)
    # Between its making and its locking a folder must not be taken for one that was left.
    with open(top / DOOR, "a") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        for old in top.iterdir():
            if old.name != DOOR and (fd := _lock(old)) is not None:
                cache.remove(old)
                os.close(fd)
        folder = Path(tempfile.mkdtemp(dir=top))
        lock = _lock(folder)
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """The folder's lock, which falls with this process; None if somebody has it."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # its owner has just removed it
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def steady(line: str) -> str:
    """A line of the kernel's without what is different each time."""
    for pattern, instead in VARIES:
        line = pattern.sub(instead, line)
    return line.strip()


def _kernel_said(verdict: Verdict, built: Built, locate: Callable) -> list[str]:
    """In plain words and by place; the first report counts."""
    rows = []
    for report in verdict.reports[:MOST_REPORTS]:
        rows.append(f"{report.kind.means} ({steady(report.headline)})")
        for word, frame in report.places.items():
            place, function = locate(built.module, frame)
            if place:
                rows.append(f"{word} {os.path.basename(place)} in {function}()")
    return rows


def _behaviour(verdict: Verdict, built: Built, locate: Callable) -> Behaviour:
    test = verdict.test
    if verdict.passed:
        return Behaviour(test.name, test.says, test.page, True, verdict.verdict)
    return Behaviour(
        test.name, test.says, test.page, False, verdict.verdict, verdict.did, verdict.wanted,
        verdict.saw, verdict.note, _kernel_said(verdict, built, locate),
    )  # fmt: skip


def fingerprint(source: bytes) -> str:
    """Equal for sources that differ in comments and layout only."""
    return cache.digest("".join(scan.spliced(source.decode("utf-8", "replace")).split()))


class Judge:
    """Judges submissions; several threads may use one."""

    def __init__(self, courses: Sequence[Course], sandbox: Sandbox, keeper: Keeper):
        self.courses = courses
        self.sandbox = sandbox
        self.keeper = keeper
        self._trials: set[Trial] = set()
        self._stopped = False

    def stop(self) -> None:
        """From another thread: compilers and VMs end, and nothing half judged is kept."""
        self._stopped = True
        self.sandbox.stop()
        for trial in list(self._trials):
            trial.stop()

    def judge(self, path: Path, stage: Stage | None) -> Record:
        """A folder, archive or file as it was handed in."""
        try:
            submission = take(path, stage)
        except NotGradable as refused:
            return Record(NOT_GRADABLE, stage.name if stage else "", str(refused))
        record = self.keeper.recall(submission)
        if not record:
            record = self._judge(submission)
            if not self._stopped:
                self.keeper.keep(submission, record)
        record.origin = submission.origin
        record.fingerprint = fingerprint(submission.source)
        return record

    def _judge(self, submission: Submission) -> Record:
        record = Record(GRADED, submission.stage.name)
        try:
            for course in self.courses:
                with scratch_folder() as scratch:
                    record.kernels.append(self._on_kernel(submission, course, scratch))
        except NotGradable as refused:
            return Record(NOT_GRADABLE, submission.stage.name, str(refused))
        return record

    def _on_kernel(self, submission: Submission, course: Course, scratch: Path) -> OnKernel:
        workshop = Workshop(self.sandbox, course.kernel)
        stage = submission.stage
        tests = course.tests_of(stage)
        result = OnKernel(course.name, course.kernel.label)
        try:
            built = compile(submission, workshop, scratch)
        except BuildFailed as failed:
            result.compiles, result.messages = False, str(failed)
            result.behaviours = [
                Behaviour(test.name, test.says, test.page, False, "not-run") for test in tests
            ]
            return result
        result.messages = built.messages
        trial = Trial(stage, built, course.machine, tests)
        self._trials.add(trial)
        if self._stopped:
            trial.stop()
        try:
            # One VM after the other, in the order of the tests. Side by side they take no less
            # of the processor, and what a driver that ruins VMs gets would depend on luck.
            verdicts = trial.run()
        finally:
            self._trials.discard(trial)
        locate = self._locate_in(workshop.room(scratch))
        result.behaviours = [_behaviour(verdict, built, locate) for verdict in verdicts]
        return result

    def _locate_in(self, room: Room) -> Callable:
        """klog.locate() in the sandbox: the module's debug data is a stranger's too."""
        return partial(klog.locate, inside=self.sandbox.prefix(room))
