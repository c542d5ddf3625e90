"""make coverage: which lines of the stages the tests reach, and why not the others.

The kernel counts itself how often each branch of a module is taken (CONFIG_GCOV_KERNEL;
Documentation/dev-tools/gcov.rst), and keeps the counts when the module is unloaded. They are
fetched from each VM at its end. gcov reads them, one VM's after the other; genhtml, of
Debian's lcov, makes pages of the sum.

A line that no test reaches needs a reason in judge/unreached.txt. A reason for a line that
is reached, or not there any more, is as wrong as a line without one.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterable, Sequence

from . import cache, costs, tools
from .build import Built, build
from .errors import CannotTest, UsageError
from .kernel import Kernel
from .stages import STAGES, TREE, Stage
from .tests import TestInfo
from .trial import Trial, Verdict, deal
from .vm import Machine, Vm, VmGone

OPTION = "CONFIG_GCOV_KERNEL"
# kbuild's own variable: the module of this call is counted.
BUILD_OPTIONS = ("GCOV_PROFILE=y",)
COUNTS = "/sys/kernel/debug/gcov"
LEAST_PERCENT = 95.0
REASONS = TREE / "judge/unreached.txt"
TOOLS = (
    tools.Tool("gcov", "gcc", "reads the counts", "coverage"),
    tools.Tool("genhtml", "lcov", "makes pages of them", "coverage"),
)


class BadReasons(Exception):
    """judge/unreached.txt breaks its own rules."""


# -- counts -----------------------------------------------------------------------------


@dataclass
class Counts:
    """How often the lines of a source were run, and their branches taken."""

    lines: Counter[int] = field(default_factory=Counter)
    # (line, which of its branches) -> how often; of a line in two functions: one after the other
    branches: Counter[tuple[int, int]] = field(default_factory=Counter)
    functions: dict[int, str] = field(default_factory=dict)  # of each line

    def add(self, rows: Iterable[dict]) -> None:
        """Adds what gcov says of the source in one VM."""
        seen: Counter[int] = Counter()
        for row in rows:
            number = row["line_number"]
            self.lines[number] += row["count"]
            self.functions[number] = row.get("function_name", "")
            for branch in row["branches"]:
                self.branches[number, seen[number]] += branch["count"]
                seen[number] += 1

    def unreached(self) -> list[int]:
        return sorted(number for number, count in self.lines.items() if not count)


@dataclass(frozen=True)
class Share:
    hit: int
    all: int

    @property
    def percent(self) -> float:
        return 100.0 * self.hit / self.all if self.all else 100.0

    def __str__(self) -> str:
        return f"{self.percent:5.1f} % {f'{self.hit}/{self.all}':>8}"


def share(counts: Counter) -> Share:
    return Share(sum(1 for count in counts.values() if count), len(counts))


def notes_of(built: Built) -> Path:
    """gcc's file about the blocks of the stage's source: its own, not that of NAME.mod.c."""
    found = [path for path in built.module.parent.glob("*.gcno") if ".mod." not in path.name]
    if len(found) != 1:
        raise CannotTest(f"{built.module.parent}: {len(found)} files *.gcno where one should be")
    return found[0]


def fetch(vm: Vm, notes: Path) -> bytes:
    """The counts of a VM; empty if it cannot be asked any more."""
    try:
        return vm.get(f"{COUNTS}{notes.with_suffix('.gcda')}")
    except VmGone:
        return b""


def read_counts(notes: Path, data: bytes) -> list[dict]:
    """What gcov makes of one VM's counts: a row for each line of each source."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, notes.name)
        place.write_bytes(notes.read_bytes())
        place.with_suffix(".gcda").write_bytes(data)
        done = subprocess.run(
            ["gcov", "--branch-probabilities", "--json-format", "--stdout", place.stem],
            cwd=folder, capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode or not done.stdout:
        raise CannotTest(f"gcov: {done.stderr.strip() or 'says nothing'}")
    return json.loads(done.stdout.splitlines()[0])["files"]


def counts_of(stage: Stage, notes: Path, data: Iterable[bytes]) -> Counts:
    counts = Counts()
    for one in filter(None, data):
        for source in read_counts(notes, one):
            # A copy of the source was compiled; the kernel's own headers are not ours to test.
            if source["file"].endswith(f"/{stage.source}"):
                counts.add(source["lines"])
    return counts


# -- reasons ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reason:
    """Why no test reaches that line of that function, wherever a stage has it."""

    function: str
    line: str
    why: str

    def __str__(self) -> str:
        return f"{self.function}: {self.line}"


def parse_reasons(text: str) -> list[Reason]:
    """`FUNCTION: LINE`, then the reason, indented. Empty lines and # between them."""
    found: list[list[str]] = []
    for row in text.splitlines():
        if not row.strip() or row.startswith("#"):
            continue
        if not row[0].isspace():
            found.append([row.strip(), ""])
        elif not found:
            raise BadReasons(f"`{row.strip()}` is the reason of no line")
        else:
            found[-1][1] = f"{found[-1][1]} {row.strip()}".strip()
    reasons = []
    for head, why in found:
        function, colon, line = head.partition(": ")
        if not colon or not function.isidentifier():
            raise BadReasons(f"`{head}` is not FUNCTION: LINE")
        if not why:
            raise BadReasons(f"`{head}` has no reason")
        reasons.append(Reason(function, line, why))
    return reasons


def read_reasons() -> list[Reason]:
    try:
        return parse_reasons(REASONS.read_text())
    except BadReasons as bad:
        raise UsageError(f"{REASONS.relative_to(TREE)}: {bad}") from None


@dataclass(frozen=True)
class Unreached:
    """A line that no test has reached."""

    stage: Stage
    number: int
    function: str
    line: str

    @property
    def why(self) -> tuple[str, str]:
        return self.function, self.line


def unreached(stage: Stage, counts: Counts, source: Sequence[str]) -> list[Unreached]:
    return [
        Unreached(stage, number, counts.functions[number], source[number - 1].strip())
        for number in counts.unreached()
    ]


def stale(
    reasons: Iterable[Reason], rows: Iterable[Unreached], sources: Iterable[str], whole: bool
) -> list[Reason]:
    """Reasons for nothing. Only with all stages known (whole) is a reached line one."""
    missed = {row.why for row in rows}
    lines = {line.strip() for text in sources for line in text.splitlines()}
    return [
        reason
        for reason in reasons
        if reason.line not in lines or (whole and (reason.function, reason.line) not in missed)
    ]


# -- what is shown ----------------------------------------------------------------------


def tracefile(covered: Iterable[tuple[Path, Counts]]) -> str:
    """The counts as lcov writes them (man geninfo), for genhtml."""
    rows = []
    for path, counts in covered:
        rows.append(f"SF:{path}")
        for (number, branch), count in sorted(counts.branches.items()):
            taken = count if counts.lines[number] else "-"
            rows.append(f"BRDA:{number},0,{branch},{taken}")
        rows += [f"DA:{number},{count}" for number, count in sorted(counts.lines.items())]
        rows.append("end_of_record")
    return "\n".join(["TN:", *rows, ""])


def write_pages(covered: Sequence[tuple[Path, Counts]]) -> Path:
    """The pages, in the cache; returns the first of them."""
    place = cache.root() / "coverage"
    cache.remove(place)
    place.mkdir()
    info = place / "kmsgpipe.info"
    info.write_text(tracefile(covered))
    done = subprocess.run(
        ["genhtml", "--quiet", "--branch-coverage", "--legend", "--title", "kmsgpipe",
         "--prefix", str(TREE), "--output-directory", str(place / "html"), str(info)],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise CannotTest(f"genhtml: {done.stderr.strip().splitlines()[-1]}")
    return place / "html/index.html"


HEAD = f"{'stage':<10} {'lines':>16} {'branches':>16}  not reached"


def table_row(stage: Stage, counts: Counts, without: int) -> str:
    missed = len(counts.unreached())
    said = f"{missed}" + (f", {without} of them without a reason" if without else "")
    return f"{stage.name:<10} {share(counts.lines)} {share(counts.branches)}  {said}"


@dataclass
class Report:
    """What became of all stages."""

    covered: dict[Stage, Counts] = field(default_factory=dict)

    def _source(self, stage: Stage) -> list[str]:
        return (stage.tree / stage.source).read_text().splitlines()

    def show(self, reasons: Sequence[Reason]) -> bool:
        """Prints the table and the lines that are not reached; True if all is well."""
        why = {(reason.function, reason.line): reason.why for reason in reasons}
        good = True
        missed: list[Unreached] = []
        print(f"\n{HEAD}")
        for stage, counts in self.covered.items():
            rows = unreached(stage, counts, self._source(stage))
            missed += rows
            without = sum(row.why not in why for row in rows)
            print(table_row(stage, counts, without))
            good &= not without and share(counts.lines).percent >= LEAST_PERCENT
        self._show_missed(missed, why)
        low = [s.name for s, c in self.covered.items() if share(c.lines).percent < LEAST_PERCENT]
        if low:
            print(f"\nLess than {LEAST_PERCENT:.0f} % of the lines: {' '.join(low)}")
        sources = ((stage.tree / stage.source).read_text() for stage in (*STAGES, *self.covered))
        for reason in stale(reasons, missed, sources, len(self.covered) == len(STAGES)):
            good = False
            print(f"\n{REASONS.relative_to(TREE)}: a reason for a line that is reached, or is "
                  f"not there any more:\n    {reason}")  # fmt: skip
        return good

    def _show_missed(self, missed: Sequence[Unreached], why: dict[tuple[str, str], str]) -> None:
        """Each line once, with all the places where it stands."""
        by_line: dict[tuple[str, str], list[Unreached]] = {}
        for row in missed:
            by_line.setdefault(row.why, []).append(row)
        if by_line:
            print("\nNot reached by any test:")
        for (function, line), rows in by_line.items():
            places = ", ".join(f"{row.stage.name}:{row.number}" for row in rows)
            print(f"  {function}(): {line}\n      {places}\n"
                  f"      {why.get((function, line), 'NO REASON GIVEN')}")  # fmt: skip


# -- the verb ---------------------------------------------------------------------------


def check_kernel(kernel: Kernel) -> None:
    if kernel.config.get(OPTION) != "y":
        raise CannotTest(f"the kernel {kernel.label} has no {OPTION}, so it does not count which "
                         "lines run. `make kernel` builds one that does; then: "
                         "make coverage KERNEL=debug")  # fmt: skip


def run_stage(stage: Stage, built: Built, machine: Machine,
              tests: list[TestInfo]) -> tuple[Counts, list[Verdict]]:  # fmt: skip
    """Judges a stage as `make test` does, and counts."""
    notes = notes_of(built)
    data: list[bytes] = []
    trial = Trial(stage, built, machine, tests)
    trial.on_vm_done = lambda vm: data.append(fetch(vm, notes))
    verdicts = trial.run(deal(machine, tests, costs.known(machine)))
    return counts_of(stage, notes, data), verdicts


def verb(stages: Sequence[Stage], for_kernel: Kernel, machine: Machine,
         tests: Sequence[TestInfo],
         on_failed: Callable[[Stage, Verdict, Built], None]) -> int:  # fmt: skip
    """make coverage: 1 if a test fails, or a line is missed without a reason."""
    tools.need(TOOLS)
    reasons = read_reasons()
    report = Report()
    failed = 0
    for stage in stages:
        start = time.monotonic()
        built = build(stage, for_kernel, options=BUILD_OPTIONS)
        own = [test for test in tests if test.judges(stage.number)]
        counts, verdicts = run_stage(stage, built, machine, own)
        report.covered[stage] = counts
        wrong = [verdict for verdict in verdicts if not verdict.passed]
        for verdict in wrong:
            on_failed(stage, verdict, built)
        print(f"{stage.name}: {len(own) - len(wrong)} of {len(own)} behaviours hold "
              f"({time.monotonic() - start:.1f} s)", flush=True)  # fmt: skip
        failed += len(wrong)
    good = report.show(reasons)
    pages = write_pages([(stage.tree / stage.source, counts) for stage, counts in report.covered.items()])
    print(f"\nLine by line: {pages}")
    return 0 if good and not failed else 1
