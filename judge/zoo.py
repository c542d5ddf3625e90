"""The zoo: wrong drivers, each of which the tests have to catch by name.

A variant is a patch on a stage's reference source, with a few words before the diff:

    Bug: what a student got wrong, in one sentence
    Caught-by: test_name [test_name...]     any one of them failing counts
    Verdict: word [word...]                 optional: how it fails, as in trial.py
    Stage: lab3                             where the folder does not say it
    Kernel: stock                           for which kernel this is true

A verdict that comes late is a miss too: a student who waits for it has left already.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Sequence

from . import cache, patch
from .build import BuildFailed, build
from .errors import UsageError
from .kernel import Kernel
from .stages import BY_NAME, TREE, Stage
from .tests import TestInfo
from .trial import LOADS, Trial, Verdict
from .vm import Machine

FOLDER = TREE / "judge/zoo"
KERNELS = ("stock", "debug")
WORKERS = 2
# The host looks at the clock that often only.
LATE_SECONDS = 0.5
COMPILES_NOT = "does-not-compile"
# These end a test before it could show anything; they are no catch by themselves.
NO_CATCH = ("passed", "not-run", "log-lost", "forged")
HEADER = re.compile(r"^([A-Z][a-z-]+): (.*\S)\s*$")
HEADERS = ("Bug", "Caught-by", "Verdict", "Stage", "Kernel")


class BadVariant(Exception):
    """A patch file that breaks the rules above."""


@dataclass(frozen=True)
class Variant:
    """One wrong driver, and what has to become of it."""

    name: str
    stage: Stage
    bug: str
    caught_by: tuple[str, ...]
    verdicts: tuple[str, ...]
    kernel: str
    diff: str
    of_harness: bool = False

    @property
    def wanted(self) -> str:
        return "/".join(self.verdicts) or "a failure"

    def source(self) -> str:
        """The wrong source text."""
        change = patch.parse(self.diff)
        if change.name != self.stage.source:
            raise patch.PatchFailed(f"it changes {change.name}, not {self.stage.source}")
        return change.apply((TREE / change.name).read_text())


@dataclass
class Catch:
    """What became of a variant."""

    variant: Variant
    got: str
    why: list[str] = field(default_factory=list)  # of a miss
    seconds: float = 0.0

    @property
    def missed(self) -> bool:
        return bool(self.why)


# -- the patch files --------------------------------------------------------------------


def parse(name: str, text: str, stage: Stage | None) -> Variant:
    """A variant from its file; stage is that of its folder, if it has one."""
    head, mark, diff = text.partition("\n--- ")
    fields: dict[str, str] = {}
    for line in filter(str.strip, head.splitlines()):
        match = HEADER.match(line)
        if not match or match[1] not in HEADERS:
            raise BadVariant(f"{name}: `{line}` is not one of {', '.join(HEADERS)}")
        if match[1] in fields:
            raise BadVariant(f"{name}: {match[1]} stands there twice")
        fields[match[1]] = match[2]
    missing = [word for word in ("Bug", "Kernel") if word not in fields]
    if COMPILES_NOT not in fields.get("Verdict", "") and "Caught-by" not in fields:
        missing.append("Caught-by")
    if stage is None and fields.get("Stage") not in BY_NAME:
        missing.append("Stage")
    if missing or not mark:
        raise BadVariant(f"{name}: {', '.join(missing) or 'the diff'} is missing")
    if fields["Kernel"] not in KERNELS:
        raise BadVariant(f"{name}: no kernel is called {fields['Kernel']}")
    return Variant(
        name=name, stage=stage or BY_NAME[fields["Stage"]], bug=fields["Bug"],
        caught_by=tuple(fields.get("Caught-by", "").split()),
        verdicts=tuple(fields.get("Verdict", "").split()),
        kernel=fields["Kernel"], diff="--- " + diff, of_harness=stage is None,
    )  # fmt: skip


def variants(folder: Path = FOLDER) -> list[Variant]:
    """All of them: the stages' in their order, then those that try the harness itself."""
    groups = [*BY_NAME.items(), ("harness", None)]
    return [
        parse(f"{group}/{path.stem}", path.read_text(), stage)
        for group, stage in groups
        for path in sorted((folder / group).glob("*.patch"))
    ]


def choose(stages: Sequence[Stage], chosen: bool, only: str = "") -> list[Variant]:
    """Those of the stages, and without a choice of stages those of the harness too."""
    every = [one for one in variants() if one.stage in stages]
    if only:
        named = [one for one in every if only in (one.name, one.name.partition("/")[2])]
        if not named:
            raise UsageError(f"VARIANT={only}: these stages have no judge/zoo/*/{only}.patch")
        return named
    return [one for one in every if not (chosen and one.of_harness)]


# -- judging one ------------------------------------------------------------------------


def tests_of(variant: Variant, known: Sequence[TestInfo]) -> list[TestInfo]:
    """Loading, and what has to fail; in the order of all tests."""
    judging = {test.name for test in known if test.judges(variant.stage.number)}
    unknown = [name for name in variant.caught_by if name not in judging]
    if unknown:
        raise BadVariant(f"no test of {variant.stage.name} is called {' '.join(unknown)}")
    return [test for test in known if test.name in (LOADS, *variant.caught_by)]


def compare(variant: Variant, verdicts: Sequence[Verdict]) -> Catch:
    """Caught, if one of the tests named fails as it should, and none of them late."""
    by_name = {verdict.test.name: verdict for verdict in verdicts}
    caught = [by_name[name] for name in variant.caught_by if _is_catch(variant, by_name[name])]
    shown = caught[:1] or [by_name[name] for name in variant.caught_by]
    catch = Catch(variant, ", ".join(f"{v.verdict} ({v.test.name})" for v in shown))
    if not caught:
        catch.why = [line for v in shown for line in _told(v)]
    loads = by_name[LOADS]
    if not loads.passed and LOADS not in variant.caught_by:
        catch.why = [f"it does not even load: {loads.verdict}", *_told(loads)]
    for verdict in verdicts:
        if verdict.seconds > verdict.allowed + LATE_SECONDS:
            catch.why.append(f"{verdict.test.name} had its verdict after {verdict.seconds:.1f} s; "
                             f"it had to have one within {verdict.allowed:.1f} s")  # fmt: skip
    if variant.of_harness and caught:
        catch.got += f" after {caught[0].seconds:.1f} of {caught[0].allowed:.1f} s"
    return catch


def _is_catch(variant: Variant, verdict: Verdict) -> bool:
    if variant.verdicts:
        return verdict.verdict in variant.verdicts
    return verdict.verdict not in NO_CATCH


def _told(verdict: Verdict) -> list[str]:
    rows = [f"{verdict.test.name}: {verdict.verdict}"]
    for word in ("did", "wanted", "saw", "note"):
        if text := getattr(verdict, word):
            rows.append(f"  {word} {text}")
    return rows + [f"  kernel {report.headline}" for report in verdict.reports]


def run_one(variant: Variant, for_kernel: Kernel, machine: Machine,
            known: Sequence[TestInfo], tree: Path) -> Catch:  # fmt: skip
    """Plants the bug in a copy below tree, compiles it and judges it."""
    try:
        text = variant.source()
        tests = tests_of(variant, known)
    except (patch.PatchFailed, BadVariant) as failed:
        return Catch(variant, "nothing to judge", [str(failed)])
    path = tree / variant.stage.source
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        built = build(variant.stage, for_kernel, tree)
    except BuildFailed as failed:
        wanted = COMPILES_NOT in variant.verdicts
        return Catch(variant, COMPILES_NOT, [] if wanted else str(failed).splitlines())
    if variant.verdicts == (COMPILES_NOT,):
        return Catch(variant, "compiles", ["it compiles"])
    # One VM, as the tests that have to fail would have in `make test`.
    cpus = max(test.cpus for test in tests)
    return compare(variant, Trial(variant.stage, built, replace(machine, cpus=cpus), tests).run())


# -- all of them ------------------------------------------------------------------------


def line(catch: Catch) -> str:
    mark = "MISSED" if catch.missed else "ok"
    return (f"{mark:<6} {catch.seconds:5.1f} s  {catch.variant.name:<36} "
            f"wanted {catch.variant.wanted}, got {catch.got}")  # fmt: skip


def left_behind() -> list[int]:
    """Processes of ours that still live: each variant must have ended its VMs."""
    tasks = Path("/proc/self/task").glob("*/children")
    return sorted(int(pid) for path in tasks for pid in path.read_text().split())


def run(chosen: Sequence[Variant], for_kernel: Kernel, machine: Machine,
        known: Sequence[TestInfo], show: Callable[[str], None] = print) -> int:  # fmt: skip
    """Judges the variants, a few side by side; returns how many were missed."""
    missed = 0
    # One zoo at a time: its trees have fixed places, so that builds find their way back.
    with cache.lock("zoo"):
        place = cache.root() / "zoo"
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(WORKERS):
            trees.put(place / str(number))

        def timed(variant: Variant) -> Catch:
            start, tree = time.monotonic(), trees.get()
            try:
                catch = run_one(variant, for_kernel, machine, known, tree)
            finally:
                trees.put(tree)
            catch.seconds = time.monotonic() - start
            return catch

        try:
            with ThreadPoolExecutor(WORKERS) as pool:
                for catch in pool.map(timed, chosen):
                    show(line(catch))
                    if catch.missed:
                        missed += 1
                        for row in [f"bug: {catch.variant.bug}", *catch.why]:
                            show(f"          {row}")
        finally:
            shutil.rmtree(place, ignore_errors=True)
    pids = left_behind()
    if pids:
        show(f"left behind: processes {pids}")
    show(f"zoo: {len(chosen) - missed} caught, {missed} missed")
    return missed + len(pids)


def _word_of(kernel: Kernel) -> str:
    """What a variant calls this kernel; of a tree of the user's its options tell."""
    asked = os.environ.get("KERNEL") or KERNELS[0]
    is_debug = "/" in asked and kernel.config.get("CONFIG_KASAN") == "y"
    return "debug" if is_debug else asked


def verb(stages: Sequence[Stage], chosen: bool, for_kernel: Kernel, machine: Machine,
         known: Sequence[TestInfo]) -> int:  # fmt: skip
    """make zoo: 1 if any variant is missed."""
    kernel = _word_of(for_kernel)
    only = os.environ.get("VARIANT", "")
    own = [one for one in choose(stages, chosen, only) if one.kernel == kernel]
    if not own:
        raise UsageError(f"no variant of {' '.join(s.name for s in stages)} is for KERNEL={kernel}")
    return 1 if run(own, for_kernel, machine, known) else 0
