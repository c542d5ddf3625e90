"""make matrix: all stages on all kernels that the course is to work on, in one table.

A kernel that cannot be had here, or is not built, does not stop the others: the table says
what was left out, and why.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Callable, Sequence

from . import report
from .build import BuildFailed, Built
from .errors import CannotTest, UsageError
from .stages import Stage
from .trial import Verdict

# As KERNEL= names them. First the distributions', with PREEMPT_RT after that; then ours.
KERNELS = ("6.1", "6.12", "6.1-rt", "6.12-rt", "debug", "race")
COMPILES_NOT = "-"


@dataclass(frozen=True)
class Judged:
    """What became of one stage on one kernel."""

    passed: int
    failed: tuple[tuple[str, str], ...]  # names of tests, and their verdicts
    compiler: str = ""  # what it said, if the stage does not compile

    @property
    def good(self) -> bool:
        return not (self.failed or self.compiler)

    def __str__(self) -> str:
        if self.compiler:
            return COMPILES_NOT
        total = self.passed + len(self.failed)
        return str(self.passed) if not self.failed else f"{self.passed}/{total}"


@dataclass
class Row:
    """One kernel."""

    kernel: str
    cells: dict[str, Judged] = field(default_factory=dict)  # by stage
    left_out: list[str] = field(default_factory=list)  # in words
    seconds: float = 0.0


@dataclass(frozen=True)
class Ground:
    """A kernel that was found, and how to judge a stage on it."""

    says: str
    left_out: Sequence[str]
    judge: Callable[[Stage], tuple[list[Verdict], Built]]  # or BuildFailed


def chosen(asked: str) -> tuple[str, ...]:
    """The kernels that KERNEL= names, or all."""
    words = asked.replace(",", " ").split()
    unknown = [word for word in words if word not in KERNELS]
    if unknown:
        raise UsageError(f"KERNEL={unknown[0]}: make matrix knows {', '.join(KERNELS)}")
    return tuple(name for name in KERNELS if name in words or not words)


def judge_stage(stage: Stage, ground: Ground) -> tuple[Judged, list[str]]:
    """The cell of the table, and what is to be said of its failures at once."""
    try:
        verdicts, built = ground.judge(stage)
    except BuildFailed as failed:
        return Judged(0, (), str(failed)), [f"{stage.name} does not compile:", str(failed)]
    wrong = [verdict for verdict in verdicts if not verdict.passed]
    said = [text for one in wrong for text in (report.line(one), report.details(one, built))]
    failed = tuple((one.test.name, one.verdict) for one in wrong)
    return Judged(len(verdicts) - len(wrong), failed), said


def judge_kernel(
    kernel: str, stages: Sequence[Stage], find: Callable[[str], Ground], show: Callable[[str], None]
) -> Row:
    """All stages on one kernel; what cannot be tested is left out, and said."""
    row = Row(kernel)
    begin = time.monotonic()
    try:
        ground = find(kernel)
        row.left_out += ground.left_out
        show(f"\n{kernel}: {ground.says}")
        for stage in stages:
            start = time.monotonic()
            cell, said = judge_stage(stage, ground)
            row.cells[stage.name] = cell
            for line in said:
                show(line)
            show(f"{kernel} {stage.name}: {cell} ({time.monotonic() - start:.1f} s)")
    except CannotTest as error:
        left = [stage.name for stage in stages if stage.name not in row.cells]
        row.left_out.append(f"not tested ({' '.join(left)}): {error}")
        show(f"\n{kernel}: {row.left_out[-1]}")
    row.seconds = time.monotonic() - begin
    return row


def table(rows: Sequence[Row], stages: Sequence[Stage]) -> list[str]:
    """A row for each kernel: how many behaviours of each stage hold, N/ALL where some do not."""
    head = "".join(f"{stage.name:>9}" for stage in stages)
    lines = [f"{'kernel':<8}{head}{'time':>9}"]
    for row in rows:
        cells = "".join(f"{str(row.cells.get(stage.name, '')):>9}" for stage in stages)
        lines.append(f"{row.kernel:<8}{cells}{row.seconds:>7.0f} s")
    return lines


def notes(rows: Sequence[Row]) -> list[str]:
    """Below the table: failures by name, and what was left out."""
    lines = []
    for row in rows:
        for stage, cell in row.cells.items():
            lines += [f"FAIL  {row.kernel} {stage}: {name} ({verdict})"
                      for name, verdict in cell.failed]  # fmt: skip
            if cell.compiler:
                lines.append(f"FAIL  {row.kernel} {stage}: does not compile")
    for row in rows:
        lines += [f"left out  {row.kernel}: {said}" for said in row.left_out]
    return lines


def run(stages: Sequence[Stage], find: Callable[[str], Ground],
        show: Callable[[str], None] = print) -> int:  # fmt: skip
    """Prints the table; returns in how many places something failed."""
    rows = [judge_kernel(kernel, stages, find, show)
            for kernel in chosen(os.environ.get("KERNEL", ""))]  # fmt: skip
    show("")
    for line in (*table(rows, stages), "", *(report.folded(note)[2:] for note in notes(rows))):
        show(line)
    cells = [cell for row in rows for cell in row.cells.values()]
    passed = sum(cell.passed for cell in cells)
    failed = sum(len(cell.failed) + bool(cell.compiler) for cell in cells)
    tested = sum(bool(row.cells) for row in rows)
    show(f"matrix: {passed} behaviours hold, {failed} do not, "
         f"on {tested} of {len(rows)} kernels")  # fmt: skip
    return failed
