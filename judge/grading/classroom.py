"""A class: every entry of a folder is a submission; judged side by side, told in their order."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator, Sequence

from .. import variables
from ..cache import write_atomic
from ..errors import CannotTest, UsageError
from ..stages import STAGES, TREE, Stage
from . import results
from .judging import NOT_TESTED, Judge, Record, fingerprint
from .results import Grade
from .submission import shown
from .weights import Weights

CSV = "grades.csv"
COLUMNS = ("submission", "lab", "outcome", "score", "of", "held", "behaviours", "note", "failed",
           "same_as", "page")  # fmt: skip
REFERENCE = "the reference"
WORKERS = 2
MOST_WORKERS = 64
MEMORY_OF_ONE = 1 << 30  # two VMs of 256 MB, a compiler
# A spreadsheet takes a cell that begins so for a formula, and runs it.
FORMULA = re.compile(r"^[=+\-@\t\r]")


def workers() -> int:
    """Two, if there are cores and memory for them; JOBS= knows better."""
    if os.environ.get("JOBS", ""):
        return variables.number("JOBS", "how many submissions at a time", MOST_WORKERS, WORKERS)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        cores = len(os.sched_getaffinity(0))
    except (OSError, ValueError):
        return 1
    return max(1, min(WORKERS, cores, free // MEMORY_OF_ONE))


def entries(folder: Path) -> list[Path]:
    """The submissions in a folder, in a stable order; hidden files are the system's."""
    ours = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    found = sorted(ours, key=lambda path: os.fsencode(path.name))
    if not found:
        raise UsageError(f"SUBMISSIONS={folder}: there is nothing in it")
    return found


def slug(name: str) -> str:
    """A folder's name for a submission: plain, and different for different ones."""
    raw = os.fsencode(name)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", raw.decode("ascii", "replace"))[:60].strip("._")
    if plain.encode() == raw:
        return plain
    return f"{plain or 'submission'}-{hashlib.sha256(raw).hexdigest()[:8]}"


def _cell(text: str) -> str:
    text = " ".join(text.split())
    return f"'{text}" if FORMULA.match(text) else text


def _twins(grades: Sequence[tuple[str, Grade]]) -> dict[str, list[str]]:
    """Who has handed in the same source, by its fingerprint. Only the instructor sees it."""
    found: dict[str, list[str]] = {}
    for stage in STAGES:
        found[fingerprint((TREE / stage.source).read_bytes())] = [REFERENCE]
    for _, grade in grades:
        found.setdefault(grade.record.fingerprint, []).append(grade.name)
    found.pop("", None)
    return found


def table(grades: Sequence[tuple[str, Grade]]) -> str:
    """The CSV: one line a submission, by folder and grade."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    twins = _twins(grades)
    for folder, grade in grades:
        record = grade.record
        tested = record.outcome != NOT_TESTED
        others = [name for name in twins.get(record.fingerprint, ()) if name != grade.name]
        rows.writerow([
            _cell(grade.name), record.stage, record.outcome,
            results.number(grade.score) if tested else "", results.number(grade.points),
            grade.held, len(grade.shares), _cell(_note(grade)),
            " ".join(grade.failed) if record.compiles else "", _cell("; ".join(others)),
            f"{folder}/report.html",
        ])  # fmt: skip
    return out.getvalue()


def _note(grade: Grade) -> str:
    if not grade.record.graded:
        return grade.record.why
    return "" if grade.record.compiles else "does not compile"


def line(grade: Grade) -> str:
    """One on the terminal, in 80 columns."""
    score = f"{results.number(grade.score)}/{results.number(grade.points)}"
    if grade.record.outcome == NOT_TESTED:
        score = "-"
    name = grade.name if len(grade.name) <= 28 else grade.name[:25] + "..."
    return f"  {name:<28} {score:>9}  {grade.summary}"


def _judged(judge: Judge, path: Path, stage: Stage) -> Record:
    try:
        return judge.judge(path, stage)
    except CannotTest as error:
        return Record(NOT_TESTED, stage.name, " ".join(str(error).split()))
    except Exception as error:  # a fault of ours: the others are to have their grades
        traceback.print_exc()
        return Record(NOT_TESTED, stage.name, f"a fault of the judge: {type(error).__name__}")


def run(judge: Judge, folder: Path, stage: Stage, weights: Weights, out: Path) -> Iterator[Grade]:
    """Judges all of them and writes each one's files as it comes, the CSV at the end."""
    paths = entries(folder)
    done: list[tuple[str, Grade]] = []
    pool = ThreadPoolExecutor(workers())
    try:
        for path, record in zip(paths, pool.map(lambda path: _judged(judge, path, stage), paths)):
            grade = results.grade(shown(path.name), record, weights)
            results.write(grade, out / slug(path.name))
            done.append((slug(path.name), grade))
            yield grade
    except BaseException:
        judge.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    write_atomic(out / CSV, table(done))
