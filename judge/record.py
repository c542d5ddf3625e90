"""What is remembered of a student's work, in work/progress.json.

For each stage: what the last test said of exactly that source, and what help was taken.
A source that has changed since is known by its digest; its old results then tell what was
wrong, but not that anything is right.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Iterable, Sequence

from . import cache
from .errors import CannotTest
from .stages import STAGES, Stage, shown

FILE = "progress.json"
NOT_COMPILED = "does not compile"


@dataclass
class Entry:
    """One stage. A test's result is "passed" or the verdict that it got."""

    source: str = ""  # digest of what was tested last
    compiles: bool = True
    wanted: int = 0  # how many tests judge this stage here
    results: dict[str, str] = field(default_factory=dict)  # in the order of the tests
    hints: dict[str, int] = field(default_factory=dict)  # test -> how many it has given
    solution: bool = False  # was looked at

    @property
    def failing(self) -> list[str]:
        return [name for name, verdict in self.results.items() if verdict != "passed"]

    @property
    def passed(self) -> int:
        return len(self.results) - len(self.failing)

    @property
    def complete(self) -> bool:
        return bool(self.wanted) and len(self.results) == self.wanted


def digest(stage: Stage) -> str:
    """The content of all that the student writes for this stage."""
    paths = [stage.tree / name for name in stage.sources]
    return cache.digest(*(path if path.is_file() else "" for path in paths))


def _path(stage: Stage) -> Path:
    return stage.tree / FILE


def _read(stage: Stage) -> dict[str, dict]:
    try:
        stages = json.loads(_path(stage).read_text(encoding="utf-8"))
        return {name: dict(one) for name, one in stages.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError):
        # Edited by hand, most likely; what it says is not worth a failure.
        print(f"{shown(_path(stage))} cannot be read; it is begun anew")
        return {}
    except OSError as error:
        raise CannotTest(f"cannot read {shown(_path(stage))}: {error.strerror}") from None


def entry(stage: Stage) -> Entry:
    """What is known of a stage of the student's."""
    known = _read(stage).get(stage.name, {})
    names = Entry.__dataclass_fields__
    return Entry(**{name: value for name, value in known.items() if name in names})


def _write(stage: Stage, new: Entry) -> None:
    # Under the lock: a second make may have noted another stage meanwhile.
    stages = {**_read(stage), stage.name: asdict(new)}
    order = [one.name for one in STAGES]
    stages = {name: stages[name] for name in sorted(stages, key=order.index)}
    try:
        cache.write_atomic(_path(stage), json.dumps(stages, indent=1) + "\n")
    except OSError as error:
        raise CannotTest(f"cannot write {shown(_path(stage))}: {error.strerror}") from None


def note_results(stage: Stage, source: str, results: dict[str, str], wanted: Sequence[str]) -> Entry:
    """What a test of that source has said; more of the same source adds to what is known."""
    with cache.lock("progress"):
        now = entry(stage)
        before = now.results if now.source == source and now.compiles else {}
        results = {**before, **results}
        now.results = {name: results[name] for name in wanted if name in results}
        now.source, now.compiles, now.wanted = source, True, len(wanted)
        _write(stage, now)
    return now


def note_not_compiled(stage: Stage, source: str) -> None:
    with cache.lock("progress"):
        now = entry(stage)
        now.source, now.compiles = source, False
        _write(stage, now)


def note_hint(stage: Stage, test: str, given: int) -> None:
    with cache.lock("progress"):
        now = entry(stage)
        now.hints[test] = given
        _write(stage, now)


def note_solution(stage: Stage) -> None:
    with cache.lock("progress"):
        now = entry(stage)
        now.solution = True
        _write(stage, now)


def why_not_passed(stage: Stage) -> str:
    """Why a stage does not count as done, in words; '' if it does."""
    known = entry(stage)
    name = f"your {stage.name}"
    if not known.source:
        return f"{name} was never tested"
    if known.source != digest(stage):
        return f"{name} was changed after its last test"
    if not known.compiles:
        return f"{name} does not compile"
    if known.failing:
        return f"{len(known.failing)} of {known.wanted} tests of {name} fail"
    return "" if known.complete else f"{name} was tested in part only"


# -- make progress ----------------------------------------------------------------------


def _state(stage: Stage, known: Entry) -> str:
    if not stage.path.is_file():
        return "not begun"
    if not known.source:
        return "begun, not tested"
    said = NOT_COMPILED if not known.compiles else ""
    if not said and known.failing:
        said = f"next: {known.failing[0]}"
    if known.source != digest(stage):
        return f"changed since; {said}" if said else "changed since its last test"
    return said or ("passed" if known.complete else "tested in part")


def rows(stages: Iterable[Stage]) -> list[str]:
    """The table, for 80 columns."""
    table = [f"{'stage':<9} {'tests passed':<13} {'hints':>5}  state"]
    for stage in stages:
        known = entry(stage)
        tests = f"{known.passed:>3} of {known.wanted}" if known.wanted else "-"
        hints = str(sum(known.hints.values())) if known.hints else "-"
        state = _state(stage, known) + (", solution seen" if known.solution else "")
        table.append(f"{stage.name:<9} {tests:<13} {hints:>5}  {state}")
    return table


def present(stages: Sequence[Stage]) -> Stage:
    """The stage that the student is at: the first that is not done."""
    undone = (stage for stage in stages if not stage.path.is_file() or why_not_passed(stage))
    return next(undone, stages[-1])


def advice(stages: Sequence[Stage]) -> str:
    """What to type next."""
    stage = present(stages)
    if not stage.path.is_file():
        return f"make {stage.name} start"
    if not why_not_passed(stage):
        return "nothing, all of that passes"
    known = entry(stage)
    current = known.source == digest(stage) and known.compiles and known.failing
    return f"make {stage.name} test" + (f", or make {stage.name} hint" if current else "")
