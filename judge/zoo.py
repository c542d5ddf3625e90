"""The zoo: wrong drivers, each of which the tests have to catch by name, and right ones.

A wrong one is a patch on a stage's reference source, with a few words before the diff:

    Bug: what a student got wrong, in one sentence
    Caught-by: test_name [test_name...]     any one of them failing counts
    Verdict: word [word...]                 optional: how it fails, as in trial.py
    Stage: lab3                             where the folder does not say it
    Kernel: stock debug                     on which kernels this is true, each by its KERNEL=

A verdict that comes late is a miss too: a student who waits for it has left already.

A right one is a whole source, in right/<stage>/: written otherwise than the reference, and
no worse. It compiles without a warning and passes every test of its stage.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Callable, Mapping, Sequence, Union

from . import cache, costs, kinds, klog, leftovers, patch, provoke, variables
from .build import BuildFailed, Built, build
from .errors import UsageError
from .kernel import Kernel
from .stages import BY_NAME, TREE, Stage
from .tests import TestInfo
from .trial import LOADS, SIDE_BY_SIDE, Lane, Trial, Verdict, deal, lean
from .vm import Machine

FOLDER = TREE / "judge/zoo"
KERNELS = ("stock", "debug", "race")
# By what a tree that the user names is known to be like one of the lab kernels.
CHECKERS = {"debug": "CONFIG_KASAN", "race": "CONFIG_KCSAN"}
RIGHT = "right"
# Before a name that VARIANT= leaves out.
EXCEPT = "!"
# What a VM takes of this machine's memory, and a compiler beside it.
WORKER_MB = 800
# A right driver gives the compiler no reason to speak, however much it is asked to.
WARNINGS = ("W=1",)
# The host looks at the clock that often only.
LATE_SECONDS = 0.5
# One that is caught now and then only is not caught.
MOST_TRIES = 3
COMPILES_NOT = "does-not-compile"
# These end a test before it could show anything; they are no catch by themselves.
NO_CATCH = ("passed", "not-run", "log-lost", "forged")
HEADER = re.compile(r"^([A-Z][a-z-]+): (.*\S)\s*$")
HEADERS = ("Bug", "Caught-by", "Verdict", "Report", "Stage", "Kernel")


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
    kernels: tuple[str, ...]
    diff: str
    of_harness: bool = False
    options: tuple[str, ...] = ()  # for kbuild
    report: str = ""  # the kind of the kernel's report, if that is what it is about

    @property
    def wanted(self) -> str:
        return self.report or "/".join(self.verdicts) or "a failure"

    def source(self) -> str:
        """The wrong source text."""
        change = patch.parse(self.diff)
        if change.name != self.stage.source:
            raise patch.PatchFailed(f"it changes {change.name}, not {self.stage.source}")
        return change.apply((TREE / change.name).read_text())

    def tests(self, known: Sequence[TestInfo]) -> list[TestInfo]:
        return tests_of(self, known)

    def lanes(self, machine: Machine, tests: Sequence[TestInfo]) -> list[Lane]:
        """One VM, as the tests that have to fail would have in `make test`."""
        cpus = max(test.cpus for test in tests)
        return [Lane(replace(lean(machine), cpus=cpus), [test.name for test in tests])]

    def enough(self, verdict: Verdict) -> bool:
        """It is caught: what else it does wrong, a hang on its way out say, tells no more."""
        if self.of_harness or self.report:
            return False
        return verdict.test.name in self.caught_by and _is_catch(self, verdict)

    def compare(self, verdicts: Sequence[Verdict]) -> Catch:
        return compare(self, verdicts)


@dataclass(frozen=True)
class Right:
    """A driver that is right in another way than the reference."""

    name: str
    stage: Stage
    path: Path
    kernels: tuple[str, ...] = KERNELS
    verdicts: tuple[str, ...] = ()
    of_harness: bool = False
    options: tuple[str, ...] = WARNINGS
    report: str = ""
    wanted: str = "all tests passed"

    @property
    def bug(self) -> str:
        return "none: a test asks for more than the stage does"

    def source(self) -> str:
        return self.path.read_text()

    def tests(self, known: Sequence[TestInfo]) -> list[TestInfo]:
        return [test for test in known if test.judges(self.stage.number)]

    def lanes(self, machine: Machine, tests: Sequence[TestInfo]) -> list[Lane]:
        return deal(machine, tests, costs.known(machine))

    def enough(self, verdict: Verdict) -> bool:
        return False

    def compare(self, verdicts: Sequence[Verdict]) -> Catch:
        failing = [verdict for verdict in verdicts if not verdict.passed]
        passed = len(verdicts) - len(failing)
        why = [line for verdict in failing for line in _told(verdict)]
        return Catch(self, f"{passed} of {len(verdicts)} passed", why)


Animal = Union[Variant, Right]


@dataclass
class Catch:
    """What became of a variant."""

    variant: Animal
    got: str
    why: list[str] = field(default_factory=list)  # of a miss
    seconds: float = 0.0
    tries: int = 1

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
    kernels = tuple(fields["Kernel"].split())
    for kernel in kernels:
        if kernel not in KERNELS:
            raise BadVariant(f"{name}: no kernel is called {kernel}")
    report = fields.get("Report", "")
    if report and (report not in kinds.KINDS or "stock" in kernels):
        raise BadVariant(f"{name}: Report names a kind of judge/kinds.py, of a lab kernel")
    return Variant(
        name=name, stage=stage or BY_NAME[fields["Stage"]], bug=fields["Bug"],
        caught_by=tuple(fields.get("Caught-by", "").split()),
        verdicts=tuple(fields.get("Verdict", "").split()),
        kernels=kernels, diff="--- " + diff, of_harness=stage is None,
        report=report,
    )  # fmt: skip


def variants(folder: Path = FOLDER) -> list[Variant]:
    """All of them: the stages' in their order, then those that try the harness itself."""
    groups = [*BY_NAME.items(), ("harness", None)]
    return [
        parse(f"{group}/{path.stem}", path.read_text(), stage)
        for group, stage in groups
        for path in sorted((folder / group).glob("*.patch"))
    ]


def right_ones(folder: Path = FOLDER) -> list[Right]:
    return [
        Right(f"{RIGHT}/{name}/{path.stem}", stage, path)
        for name, stage in BY_NAME.items()
        for path in sorted((folder / RIGHT / name).glob("*.c"))
    ]


def choose(stages: Sequence[Stage], chosen: bool, only: str = "") -> list[Animal]:
    """Those of the stages, and without a choice of stages those of the harness too.

    only: names of those that are meant, or patterns of the shell's kind; after a ! not meant.
    """
    every = [one for one in (*variants(), *right_ones()) if one.stage in stages]
    usual = {one.name for one in every if not (chosen and one.of_harness)}
    words = only.replace(",", " ").split()
    named = usual if all(word.startswith(EXCEPT) for word in words) else set()
    for word in words:
        pattern = word.removeprefix(EXCEPT)
        fitting = {one.name for one in every if fnmatchcase(f"/{one.name}", f"*/{pattern}")}
        if not fitting:
            raise UsageError(f"VARIANT={word}: these stages have no judge/zoo/*/{pattern}.patch "
                             f"and no judge/zoo/right/*/{pattern}.c")  # fmt: skip
        named = named - fitting if word.startswith(EXCEPT) else named | fitting
    return [one for one in every if one.name in named]


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
    named = [by_name[name] for name in variant.caught_by if name in by_name]
    caught = [verdict for verdict in named if _is_catch(variant, verdict)]
    shown = caught[:1] or named
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


def wrong_report(variant: Animal, built: Built, verdicts: Sequence[Verdict]) -> list[str]:
    """What is wrong with the kernel's report; empty if it is of the kind and names the lines.

    These are marked in the source: see provoke.py.
    """
    marked = provoke.marks(variant.source())
    module = provoke.Module(Path(variant.stage.source).stem, variant.report, (), marked)
    told = [verdict for verdict in verdicts if verdict.reports] or list(verdicts[:1])

    def located(report: klog.Report, word: str) -> str:
        place = report.places.get(word)
        return Path(klog.locate(built.module, place)[0]).name if place else ""

    return provoke.compare(module, told[0], located)


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


def run_one(variant: Animal, for_kernel: Kernel, machine: Machine,
            known: Sequence[TestInfo], tree: Path) -> Catch:  # fmt: skip
    """Puts its source below tree, compiles it and judges it."""
    try:
        text = variant.source()
        tests = variant.tests(known)
    except (patch.PatchFailed, BadVariant) as failed:
        return Catch(variant, "nothing to judge", [str(failed)])
    path = tree / variant.stage.source
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for name in variant.stage.headers:
        shutil.copy(TREE / variant.stage.folder / name, path.parent)
    try:
        built = build(variant.stage, for_kernel, tree, variant.options)
    except BuildFailed as failed:
        wanted = COMPILES_NOT in variant.verdicts
        return Catch(variant, COMPILES_NOT, [] if wanted else str(failed).splitlines())
    if variant.verdicts == (COMPILES_NOT,):
        return Catch(variant, "compiles", ["it compiles"])
    if built.messages and variant.options == WARNINGS:
        return Catch(variant, "warnings", built.messages.splitlines())
    trial = Trial(variant.stage, built, machine, tests)
    trial.on_verdict = lambda verdict: trial.stop() if variant.enough(verdict) else None
    verdicts = trial.run(variant.lanes(machine, tests))
    catch = variant.compare(verdicts)
    if variant.report:
        catch.why += wrong_report(variant, built, verdicts)
    return catch


# -- all of them ------------------------------------------------------------------------


def line(catch: Catch) -> str:
    mark = "MISSED" if catch.missed else "ok"
    which = f", try {catch.tries}" if catch.tries > 1 else ""
    return (f"{mark:<6} {catch.seconds:5.1f} s  {catch.variant.name:<36} "
            f"wanted {catch.variant.wanted}, got {catch.got}{which}")  # fmt: skip


def workers() -> int:
    """How many at a time: one more than there are CPUs, as tests also wait; if memory allows."""
    text = Path("/proc/meminfo").read_text()
    free_mb = int(re.search(r"^MemAvailable:\s+(\d+) kB", text, re.M)[1]) // 1024
    return max(1, min((os.cpu_count() or 1) + 1, free_mb // WORKER_MB))


def workers_for_right_ones() -> int:
    """Each runs in as many VMs as `make test`; virtual CPUs that spin for one another and share
    a CPU take twice the time."""
    return max(1, workers() // SIDE_BY_SIDE)


def table(catches: Sequence[Catch]) -> list[str]:
    """What came of each group, in figures."""
    rows = [f"{'':<14} {'as wanted':>9} {'missed':>6} {'seconds':>8}"]
    for group in dict.fromkeys(_group(catch.variant) for catch in catches):
        own = [catch for catch in catches if _group(catch.variant) == group]
        missed = sum(catch.missed for catch in own)
        seconds = sum(catch.seconds for catch in own)
        rows.append(f"{group:<14} {len(own) - missed:9} {missed:6} {seconds:8.1f}")
    return rows


def _group(variant: Animal) -> str:
    return variant.name.rpartition("/")[0]


def _judge_all(chosen: Sequence[Animal], place: Path, judge: Callable[[Animal, Path], Catch],
               show: Callable[[str], None], most: int) -> list[Catch]:  # fmt: skip
    """The wrong ones, then the right ones; most: how often a wrong one that is missed.

    A right one that is refused has found a test that flakes: it has one try.
    """
    wrong = [animal for animal in chosen if isinstance(animal, Variant)]
    right = [animal for animal in chosen if isinstance(animal, Right)]
    catches = (_side_by_side(workers(), wrong, place, judge, show)
               + _side_by_side(workers_for_right_ones(), right, place, judge, show))  # fmt: skip
    for number in range(2, most + 1):
        missed = [one for catch in catches if catch.missed and (one := catch.variant) in wrong]
        if missed:
            show(f"\nTry {number}, one at a time:")
        later = {catch.variant.name: catch
                 for catch in _side_by_side(1, missed, place, judge, show, number)}  # fmt: skip
        catches = [later.get(catch.variant.name, catch) for catch in catches]
    return catches


def _side_by_side(count: int, chosen: Sequence[Animal], place: Path,
                  judge: Callable[[Animal, Path], Catch],
                  show: Callable[[str], None], tries: int = 1) -> list[Catch]:  # fmt: skip
    """So many at a time, each in a tree below place; shown in their order."""
    catches: list[Catch] = []
    trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(count):
        trees.put(place / str(number))

    def timed(variant: Animal) -> Catch:
        start, tree = time.monotonic(), trees.get()
        try:
            catch = judge(variant, tree)
        finally:
            trees.put(tree)
        catch.seconds, catch.tries = time.monotonic() - start, tries
        return catch

    with ThreadPoolExecutor(count) as pool:
        for catch in pool.map(timed, chosen):
            catches.append(catch)
            show(line(catch))
            for row in [f"bug: {catch.variant.bug}", *catch.why] if catch.missed else ():
                show(f"          {row}")
    return catches


def run(chosen: Sequence[Animal], for_kernel: Kernel, machine: Machine,
        known: Sequence[TestInfo], show: Callable[[str], None] = print,
        most: int = 1) -> int:  # fmt: skip
    """Judges them, a few side by side; returns how many were missed, or left something."""
    start = time.monotonic()
    leftovers.adopt_orphans()
    # One zoo at a time: its trees have fixed places, so that builds find their way back.
    other = "another `make zoo` with this cache to end; nothing is judged until then"
    with cache.lock("zoo", other), \
         tempfile.TemporaryDirectory(prefix="kmsgpipe-zoo-") as temporary:  # fmt: skip
        place = cache.root() / "zoo"
        before = leftovers.Before(TREE, cache.root(), Path(temporary))
        # What compilers and we forget to remove shows there.
        outer, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), temporary
        tempfile.tempdir = None
        try:
            catches = _judge_all(
                chosen, place,
                lambda variant, tree: run_one(variant, for_kernel, machine, known, tree),
                show, most,
            )  # fmt: skip
        finally:
            shutil.rmtree(place, ignore_errors=True)
            tempfile.tempdir = None
            os.environ.pop("TMPDIR")
            if outer is not None:
                os.environ["TMPDIR"] = outer
        left = before.left()
    for row in ["", *table(catches), "", *(f"left behind: {one}" for one in left)]:
        show(row)
    missed = sum(catch.missed for catch in catches)
    show(f"zoo: {len(catches) - missed} as wanted, {missed + len(left)} not "
         f"({time.monotonic() - start:.0f} s, {workers()} at a time)")  # fmt: skip
    later = [catch.variant.name for catch in catches if catch.tries > 1 and not catch.missed]
    if later:
        show(f"not at the first try: {' '.join(later)}")
    return missed + len(left)


def tries() -> int:
    """What TRIES= says."""
    return variables.number("TRIES", "how many tries a wrong driver has", MOST_TRIES, 1)


def kernel_word(asked: str, config: Mapping[str, str]) -> str:
    """What variants call the kernel that was asked for; a distribution's is a stock one."""
    if asked in KERNELS:
        return asked
    like = (word for word, option in CHECKERS.items() if config.get(option) == "y")
    return next(like, "stock")


def verb(stages: Sequence[Stage], chosen: bool, for_kernel: Kernel, machine: Machine,
         known: Sequence[TestInfo]) -> int:  # fmt: skip
    """make zoo: 1 if any wrong driver is missed, or any right one refused."""
    kernel = kernel_word(os.environ.get("KERNEL", ""), for_kernel.config)
    only = os.environ.get("VARIANT", "")
    own = [one for one in choose(stages, chosen, only) if kernel in one.kernels]
    if not own:
        raise UsageError(f"no variant of {' '.join(s.name for s in stages)} is for KERNEL={kernel}")
    return 1 if run(own, for_kernel, machine, known, most=tries()) else 0
