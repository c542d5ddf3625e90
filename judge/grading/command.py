"""What `make grade` reads from its variables, and what it says."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path
from typing import Callable, Sequence

from .. import cache, kernel
from ..errors import CannotTest, UsageError
from ..kernel import Kernel
from ..stages import BY_NAME, TREE, Stage
from . import classroom, results, sandbox, weights
from .judging import NOT_TESTED, Course, Judge, Keeper
from .submission import shown

# What the run says of itself to who called it. A score is no status: 0 is "graded".
ALL_GRADED, SOME_NOT_GRADABLE, SOME_NOT_TESTED = 0, 1, CannotTest.status
DEBUG = "debug"


def _stage(stages: Sequence[Stage], chosen: bool) -> Stage | None:
    """From `make lab3 grade` or from STAGE=lab3."""
    name = os.environ.get("STAGE", "")
    if name and name not in BY_NAME:
        raise UsageError(f"STAGE={name}: it is one of {', '.join(BY_NAME)}")
    if not chosen:
        return BY_NAME.get(name)
    if len(stages) > 1 or (name and BY_NAME[name] not in stages):
        raise UsageError("a submission is graded for one lab: make lab3 grade ...")
    return stages[0]


def _path(variable: str) -> Path | None:
    text = os.environ.get(variable, "")
    if not text:
        return None
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if not os.path.lexists(path):
        raise UsageError(f"{variable}={text}: there is no such file or folder")
    return path


def kernels(find: Callable[[], Kernel]) -> list[tuple[str, Kernel]]:
    """The one that KERNEL= names; else the stock one, and the debug kernel where it is built."""
    named = os.environ.get("KERNEL", "")
    if named or os.environ.get("KDIR"):
        return [(named if kernel.SERIES.fullmatch(named) or named == DEBUG else "own", find())]
    found = [("stock", find())]
    try:
        debug = kernel.known(DEBUG)
    except (UsageError, CannotTest):  # this course has none, or it is not usable
        debug = None
    return [*found, (DEBUG, debug)] if debug else found


def _out(default: str) -> Path:
    text = os.environ.get("OUT", "")
    return Path(os.path.abspath(os.path.expanduser(text))) if text else TREE / "grades" / default


def _one(judge: Judge, path: Path, stage: Stage | None, marks: weights.Weights) -> int:
    record = judge.judge(path, stage)
    grade = results.grade(shown(path.name), record, marks)
    folder = _out(f"{record.stage or 'unknown'}/{classroom.slug(path.name)}")
    results.write(grade, folder)
    title = f"{record.stage}: {BY_NAME[record.stage].title}" if record.stage else "kmsgpipe"
    print(f"\n{shown(path.name)} - {title}")
    if record.origin and record.origin != path.name:
        print(f"  {shown(record.origin)}")
    print(*results.lines(grade), sep="\n")
    if not record.graded:
        print(f"{record.outcome}: {record.why}")
    print(f"\n{results.number(grade.score)} of {results.number(grade.points)} points: "
          f"{grade.summary if record.graded else record.outcome}")  # fmt: skip
    print(f"written: {_near(folder)}/ ({', '.join(results.FILES)})")
    return ALL_GRADED if record.graded else SOME_NOT_GRADABLE


def _many(judge: Judge, folder: Path, stage: Stage | None, marks: weights.Weights) -> int:
    if not stage:
        raise UsageError("a class is graded for one lab: say which, such as STAGE=lab3")
    out = _out(stage.name)
    if out == folder or folder in out.parents:
        raise UsageError(f"OUT={out}: it lies in the folder of the submissions")
    paths = classroom.entries(folder)
    print(f"\n{stage.name}: {stage.title}; {len(paths)} submissions, "
          f"{classroom.workers()} at a time\n")  # fmt: skip
    counts: dict[str, int] = {}
    for grade in classroom.run(judge, folder, stage, marks, out):
        print(classroom.line(grade))
        counts[grade.record.outcome] = counts.get(grade.record.outcome, 0) + 1
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    print(f"\n{told}\nwritten: {_near(out)}/{classroom.CSV}, and a page for each in its folder")
    if NOT_TESTED in counts:
        print("To judge what could not be tested: the same command again; the rest is kept")
        return SOME_NOT_TESTED
    return SOME_NOT_GRADABLE if len(counts) > 1 or "graded" not in counts else ALL_GRADED


def _near(path: Path) -> str:
    """As one would type it from here."""
    return os.path.relpath(path, TREE) if TREE in path.parents else str(path)


def ready(courses: Callable[[], list[Course]]) -> Judge:
    """The judge, with its kernels and its sandbox; says which they are."""
    found = courses()
    probe = cache.root() / "grading-probe"
    try:
        cell = sandbox.choose(probe)
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    for course in found:
        print(f"{course.name}: {course.kernel.label}")
    print(textwrap.fill(f"compiled {cell.means}.", 80))
    return Judge(found, cell, Keeper(found, cell, os.environ.get("FRESH", "") not in ("", "0")))


def run(stages: Sequence[Stage], chosen: bool, courses: Callable[[], list[Course]]) -> int:
    """make grade: the courses (kernels and machines) are made once it is clear what is asked."""
    stage = _stage(stages, chosen)
    single, many = _path("SUBMISSION"), _path("SUBMISSIONS")
    if bool(single) == bool(many):
        raise UsageError("make grade SUBMISSION=<folder, archive or .c file> grades one, "
                         "make grade SUBMISSIONS=<folder of these> STAGE=lab3 a class")  # fmt: skip
    if many and not many.is_dir():
        raise UsageError(f"SUBMISSIONS={many}: it is a file; for one submission SUBMISSION=")
    judge = ready(courses)
    marks = weights.read(_path("WEIGHTS") or weights.FILE, judge.courses[0].tests)
    try:
        if single:
            return _one(judge, single, stage, marks)
        return _many(judge, many, stage, marks)
    except BaseException:
        judge.stop()
        raise
