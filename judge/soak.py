"""Soaking: the same tests again and again on a busy machine, to find those that flake.

A test whose verdict depends on luck is worse than none: a student searches for a bug that
is not there. So this machine's CPUs get other work, and every round has to end as the
others do. It is no question here whether a test passes, only whether it always does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Callable, Iterator, Sequence

from . import costs, report, variables
from .build import Built
from .stages import Stage
from .tests import TestInfo
from .trial import Trial, Verdict, deal
from .vm import Machine

ROUNDS = 10
MOST_ROUNDS = 10000
BUSY = "while True: pass"


def rounds() -> int:
    """What N= says."""
    return variables.number("N", "how many rounds", MOST_ROUNDS, ROUNDS)


@contextlib.contextmanager
def load(count: int) -> Iterator[list[int]]:
    """So many processes that never rest; yields their ids. They end with us in every case."""
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-S", "-c", BUSY]
    processes: list[subprocess.Popen] = []
    try:
        for _ in range(count):
            # A group of its own: Ctrl-C is for us, we end them.
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                              start_new_session=True))  # fmt: skip
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def machines(machine: Machine) -> list[Machine]:
    """KVM and emulation, where both work: each has races that the other hides."""
    emulated = replace(machine, accel="tcg")
    return [emulated] if machine.accel == "tcg" else [machine, emulated]


@dataclass
class Record:
    """The verdicts of all rounds of one stage on one accelerator."""

    stage: Stage
    accel: str
    built: Built
    words: dict[str, Counter[str]] = field(default_factory=dict)
    # By test and verdict: the round in which it came first, and all about it.
    first: dict[tuple[str, str], tuple[int, Verdict]] = field(default_factory=dict)

    def add(self, number: int, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            name = verdict.test.name
            self.words.setdefault(name, Counter())[verdict.verdict] += 1
            self.first.setdefault((name, verdict.verdict), (number, verdict))

    def differing(self) -> list[str]:
        """Tests that did not always end alike, in the order of the tests."""
        return [name for name, words in self.words.items() if len(words) > 1]

    def failing(self) -> list[str]:
        """Tests that always end alike, but never well."""
        return [name for name, words in self.words.items()
                if len(words) == 1 and "passed" not in words]  # fmt: skip

    def rows(self) -> list[str]:
        """What to say of this stage in the end."""
        said = f"{self.stage.name}, {self.accel}"
        rows = []
        for name in self.differing():
            words = self.words[name].most_common()
            counts = ", ".join(f"{word} {count} times" for word, count in words)
            rows.append(f"DIFFERS  {said}: {name}: {counts}")
            for word, _ in words:
                number, verdict = self.first[name, word]
                if not verdict.passed:
                    rows.append(f"        first {word} in round {number}:")
                    rows.append(report.details(verdict, self.built))
        if self.failing():
            rows.append(f"failing  {said}: always, so no flake: {' '.join(self.failing())}")
        return rows


def soak(stage: Stage, built: Built, machine: Machine, tests: list[TestInfo], count: int,
         record: Record, show: Callable[[str], None] = print) -> None:  # fmt: skip
    """Judges one module count times, into the record."""
    for number in range(1, count + 1):
        start = time.monotonic()
        lanes = deal(machine, tests, costs.known(machine))
        verdicts = Trial(stage, built, machine, tests).run(lanes)
        record.add(number, verdicts)
        passed = sum(verdict.passed for verdict in verdicts)
        different = len(record.differing())
        show(f"{stage.name}, {machine.accel}, round {number} of {count}: {passed} of "
             f"{len(verdicts)} passed ({time.monotonic() - start:.1f} s)"
             + (f"; so far {different} differ" if different else ""))  # fmt: skip


def run(parts: Sequence[tuple[Stage, Built, list[TestInfo]]], machine: Machine,
        count: int, show: Callable[[str], None] = print) -> int:  # fmt: skip
    """All stages on all accelerators under load; returns how many tests differed."""
    records: list[Record] = []
    busy = os.cpu_count() or 1
    show(f"{busy} processes keep this machine busy meanwhile.")
    try:
        with load(busy):
            for stage, built, tests in parts:
                for one in machines(machine):
                    records.append(Record(stage, one.accel, built))
                    soak(stage, built, one, tests, count, records[-1], show)
    finally:
        # After Ctrl-C, too: what has differed by then is worth knowing.
        for row in (row for record in records for row in record.rows()):
            show(row)
    verdicts = sum(sum(words.values()) for record in records for words in record.words.values())
    different = sum(len(record.differing()) for record in records)
    show(f"soak: {verdicts} verdicts, {different} tests whose verdict differed")
    return different
