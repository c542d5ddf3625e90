"""The verbs: what each prints and in which order it calls the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Sequence

from . import (
    accel, arch, cmdline, costs, desk, image, kernel, labkernel, needs, record, report, tools,
)  # fmt: skip
from .build import Built, BuildFailed, build as build_module, clean as clean_builds
from .errors import CannotTest, UsageError
from .kernel import Kernel
from .snapshot import Resuming
from .stages import BY_NAME, TREE, Stage
from .tests import TestInfo
from .trial import Trial, Verdict, deal
from .vm import Machine

if TYPE_CHECKING:
    from . import matrix as matrix_module
    from .grading.judging import Course

VERBOSE = os.environ.get("V") == "1"
# A driver that does not wake anybody makes each test of that wait until its time-out; a
# student works on the first of them.
PATIENCE = 3


def _kernel() -> Kernel:
    tools.require("test")
    return kernel.find(os.environ.get("KERNEL") or None)


def _machine(for_kernel: Kernel) -> tuple[Machine, str]:
    """The VM to use, and how it is run in words."""
    on = arch.host()
    options = cmdline.options(for_kernel.config)
    machine = Machine(on, "tcg", for_kernel.image, image.initrd(on), options=options)
    chosen, why = accel.choose(machine)
    return replace(machine, accel=chosen), why


def _first_line(stages: Sequence[Stage], for_kernel: Kernel, how: str) -> str:
    """Which stage, which kernel, and how it runs."""
    names = " ".join(stage.name for stage in stages)
    return textwrap.fill(f"{names}: {for_kernel.label}, {how}", 80, break_on_hyphens=False)


def _shown(stage: Stage, get: Callable[[], Built]) -> Built | None:
    """What get() built, and on the terminal what the compiler said; None if it failed."""
    try:
        built = get()
    except BuildFailed as failed:
        print(f"{stage.name}: {stage.shown} does not compile:\n")
        print(failed)
        return None
    if built.messages:
        print(built.messages)
    return built


def _try_build(stage: Stage, for_kernel: Kernel) -> Built | None:
    return _shown(stage, lambda: build_module(stage, for_kernel))


def build(stages: Sequence[Stage], chosen: bool) -> int:
    for_kernel = _kernel()
    print(_first_line(stages, for_kernel, "only compiled"))
    status = 0
    for stage in stages:
        built = _try_build(stage, for_kernel)
        if built:
            print(f"{stage.name}: {built.module}")
        else:
            status = 1
    return status


# -- test -------------------------------------------------------------------------------


def _tests_of(stage: Stage) -> list[TestInfo]:
    return [test for test in image.tests(arch.host()) if test.judges(stage.number)]


def _chosen(tests: list[TestInfo]) -> list[TestInfo]:
    """Those that TESTS= names, or all."""
    only = os.environ.get("TESTS", "").replace(",", " ").split()
    unknown = sorted(set(only) - {test.name for test in image.tests(arch.host())})
    if unknown:
        raise UsageError(f"TESTS={' '.join(unknown)}: no test has that name; V=1 shows the names")
    return [test for test in tests if not only or test.name in only]


def _show(stage: Stage, verdict: Verdict, built: Built) -> None:
    if stage.own and verdict.verdict == "not-run" and not VERBOSE:
        return  # a driver that does not even load has a screenful of them
    print(report.line(verdict))
    # A beginner's driver fails in many tests at once: the end tells where to begin.
    if not verdict.passed and (VERBOSE or not stage.own):
        print(report.details(verdict, built))
    elif VERBOSE:
        print(f"        {verdict.test.name}, {verdict.ms} ms")


@dataclass(frozen=True)
class Judging:
    """How one stage is judged: by which tests, in which VM, and what is remembered of it."""

    stage: Stage
    tests: list[TestInfo]
    machine: Machine
    every: list[TestInfo]  # also those that TESTS= has left out
    source: str  # digest of the student's, before it was compiled

    def note(self, verdicts: list[Verdict]) -> None:
        """Not if it was edited meanwhile: nobody knows which of the two was judged."""
        results = {verdict.test.name: verdict.verdict for verdict in verdicts
                   if verdict.verdict != "not-run"}  # fmt: skip
        self._remember(record.note_results, results, [one.name for one in self.every])

    def note_not_compiled(self) -> None:
        self._remember(record.note_not_compiled)

    def _remember(self, note: Callable[..., object], *what: object) -> None:
        if not self.source or record.digest(self.stage) != self.source:
            return
        try:
            note(self.stage, self.source, *what)
        except CannotTest as error:  # the verdict is what was asked for
            print(f"not remembered: {error}")


def run_tests(
    judging: Judging, get: Callable[[], Built | None], on_verdict: Callable[[Verdict, Built], None]
) -> tuple[list[Verdict], Built | None]:
    """Judges one stage, and remembers it if it is the student's."""
    lanes = deal(judging.machine, judging.tests, costs.known(judging.machine))
    # While the compiler works the VMs come back to life, one after the other: it needs a CPU, too.
    starter = ThreadPoolExecutor(1)
    try:
        for lane in lanes:
            lane.start(judging.stage, starter)
        built = get()
        if not built:
            judging.note_not_compiled()
            return [], None
        trial = Trial(judging.stage, built, judging.machine, judging.tests)
        trial.on_verdict = lambda verdict: on_verdict(verdict, built)
        if judging.stage.own and not VERBOSE:
            trial.patience = PATIENCE
        verdicts = trial.run(lanes)
    finally:
        for lane in lanes:
            lane.close()
        starter.shutdown()
    judging.note(verdicts)
    costs.remember(judging.machine, verdicts)
    return verdicts, built


def _test_stage(judging: Judging, building: Future[Built]) -> tuple[int, int]:
    """Judges one stage and shows it; returns how many tests passed and failed."""
    start = time.monotonic()
    stage = judging.stage
    verdicts, built = run_tests(
        judging, lambda: _shown(stage, building.result), partial(_show, stage)
    )
    if not built:
        return 0, len(judging.tests)
    passed = sum(verdict.passed for verdict in verdicts)
    print(f"\n{stage.name}: {passed} of {len(verdicts)} behaviours hold "
          f"({time.monotonic() - start:.1f} s)")  # fmt: skip
    if stage.own:
        print(report.next_step(stage, verdicts, built, len(judging.every)))
    return passed, len(verdicts) - passed


def test(stages: Sequence[Stage], chosen: bool) -> int:
    for_kernel = _kernel()
    machine, how = _machine(for_kernel)
    passed = failed = 0
    with ThreadPoolExecutor(1) as pool:
        # One stage is compiled while the one before is judged.
        sources = [record.digest(stage) if stage.own else "" for stage in stages]
        builds = [pool.submit(build_module, stage, for_kernel) for stage in stages]
        try:
            for stage, building, source in zip(stages, builds, sources):
                print(f"\n{_first_line([stage], for_kernel, how)}")
                every, left_out = needs.runnable(_tests_of(stage), for_kernel)
                tests = _chosen(every)
                if left_out and not tests:
                    raise CannotTest("; ".join(left_out))
                says = (f"{stage.title} - {stage.shown}", *left_out)
                print("".join(f"{report.folded(line)}\n" for line in says))
                judging = Judging(stage, tests, machine, every, source)
                good, bad = _test_stage(judging, building)
                passed, failed = passed + good, failed + bad
        finally:
            pool.shutdown(cancel_futures=True)
    if not passed + failed:
        raise UsageError("none of these tests judges " + " ".join(stage.name for stage in stages))
    if len(stages) > 1:
        print(f"\nAll stages: {passed} behaviours hold, {failed} do not.")
    if not os.environ.get("KERNEL") and labkernel.known("debug"):
        print("A debug kernel is built: `make test KERNEL=debug` sees what this one lets pass.")
    return 1 if failed else 0


def check(stages: Sequence[Stage], chosen: bool) -> int:
    from . import check as review

    tools.require("check")
    for_kernel = kernel.find(os.environ.get("KERNEL") or None)
    print(_first_line(stages, for_kernel, "only compiled"))
    parts = [(stage.name, "checkpatch --strict, W=1, sparse",
              partial(review.stage, stage, for_kernel)) for stage in stages]  # fmt: skip
    parts.append(("include", "checkpatch --strict", review.headers))
    if not chosen:
        parts.append(("userland", "checkpatch, gcc -Wall -Wextra", review.userland))
        parts.append(("judge/reports", "checkpatch --strict", review.reports))
    seen: set[review.Finding] = set()
    # Each of these tools runs on one core: two at a time, shown in their order.
    with ThreadPoolExecutor(2) as pool:
        for (name, by, _), found in zip(parts, pool.map(lambda part: part[2](), parts)):
            # A header's finding comes with each stage that includes it: once is enough.
            for finding in (row for row in found.findings if row not in seen):
                print(finding)
            seen.update(found.findings)
            count = len(found.findings)
            print(f"{name}: {f'findings: {count}' if count else 'clean'} ({by})")
            if VERBOSE and found.ignored:
                print(f"{name}: ignored {found.ignored} about the kernel's own files")
    return 1 if seen else 0


def zoo(stages: Sequence[Stage], chosen: bool) -> int:
    from . import zoo as cages

    for_kernel = _kernel()
    machine, how = _machine(for_kernel)
    print(_first_line(stages, for_kernel, how))
    tests, left_out = needs.runnable(image.tests(machine.arch), for_kernel)
    for line in left_out:
        print(line)
    return cages.verb(stages, chosen, for_kernel, machine, tests)


def coverage(stages: Sequence[Stage], chosen: bool) -> int:
    from . import coverage as counted

    for_kernel = _kernel()
    counted.check_kernel(for_kernel)
    machine, how = _machine(for_kernel)
    print(_first_line(stages, for_kernel, how))
    tests, left_out = needs.runnable(image.tests(machine.arch), for_kernel)
    for line in left_out:
        print(line)
    try:
        return counted.verb(stages, for_kernel, machine, tests, _show)
    except BuildFailed as failed:
        print(failed)
        return 1


def _ground(spec: str) -> matrix_module.Ground:
    """A kernel of the matrix, and how a stage is judged on it."""
    from . import matrix as crossed

    tools.require("test")
    for_kernel = kernel.find(spec)
    machine, how = _machine(for_kernel)
    tests, left_out = needs.runnable(image.tests(machine.arch), for_kernel)

    def judge(stage: Stage) -> tuple[list[Verdict], Built]:
        own = [test for test in tests if test.judges(stage.number)]
        judging = Judging(stage, own, machine, own, "")
        return run_tests(judging, lambda: build_module(stage, for_kernel), lambda *_: None)

    return crossed.Ground(f"{for_kernel.label}, {how}", left_out, judge)


def matrix(stages: Sequence[Stage], chosen: bool) -> int:
    from . import matrix as crossed

    return 1 if crossed.run(stages, _ground) else 0


def soak(stages: Sequence[Stage], chosen: bool) -> int:
    from . import soak as soaking

    count = soaking.rounds()
    for_kernel = _kernel()
    machine, how = _machine(for_kernel)
    print(_first_line(stages, for_kernel, how))
    parts = []
    for stage in stages:
        every, left_out = needs.runnable(_tests_of(stage), for_kernel)
        tests = _chosen(every)
        for line in left_out:
            print(line)
        built = _try_build(stage, for_kernel)
        if not built:
            return 1
        if tests:
            parts.append((stage, built, tests))
    if not parts:
        raise UsageError("none of these tests judges " + " ".join(stage.name for stage in stages))
    return 1 if soaking.run(parts, machine, count) else 0


def _courses() -> list[Course]:
    """What a submission is judged on: kernels, their machines, and the tests for these."""
    from .grading import command
    from .grading.judging import Course

    found = []
    for name, for_kernel in command.kernels(_kernel):
        machine, _ = _machine(for_kernel)
        tests, left_out = needs.runnable(image.tests(machine.arch), for_kernel)
        for line in left_out:
            print(line)
        found.append(Course(name, for_kernel, machine, tuple(tests)))
    return found


def grade(stages: Sequence[Stage], chosen: bool) -> int:
    from .grading import command

    return command.run(stages, chosen, _courses)


def grade_check() -> int:
    from .grading import command, selfcheck

    small = os.environ.get("SMALL", "") not in ("", "0")
    return selfcheck.run(command.ready(_courses), small)


def demo(stages: Sequence[Stage], chosen: bool) -> int:
    from . import demo as player

    if not chosen:  # a visitor wants to see where the course leads
        stages = stages[-1:]
    for_kernel = _kernel()
    machine, how = _machine(for_kernel)
    failed = 0
    for stage in stages:
        print(f"\n{_first_line([stage], for_kernel, how)}\n  {stage.title} - {stage.shown}")
        with Resuming(machine) as resuming:
            built = _try_build(stage, for_kernel)
            failed += not (built and player.run(stage, built, resuming))
    return 1 if failed else 0


def bench(stages: Sequence[Stage], chosen: bool) -> int:
    from .bench import command

    stage = command.only_capstone(stages, chosen)
    for_kernel = _kernel()
    built = _try_build(stage, for_kernel)
    return command.run(stage, for_kernel, built) if built else 1


def _compared(stages: Sequence[Stage], chosen: bool) -> list[tuple[Stage | None, Stage]]:
    """What to compare: FROM= and TO=, or each stage with the one before."""
    named = {word: os.environ.get(word, "") for word in ("FROM", "TO")}
    for word, name in named.items():
        if name and name not in BY_NAME:
            raise UsageError(f"{word}={name}: it is one of {', '.join(BY_NAME)}")
    old, new = (BY_NAME.get(named[word]) for word in ("FROM", "TO"))
    if new and chosen:
        raise UsageError(f"TO= and {stages[0].name} both say what to compare; give one")
    if old and not (new or len(stages) == 1):
        raise UsageError("FROM= needs TO=, such as: make diff FROM=lab2 TO=lab5")
    if new:
        return [(old or new.before, new)]
    every = stages if chosen else stages[1:]
    return [(old or _before(stage), stage) for stage in every]


def _before(stage: Stage) -> Stage | None:
    """The stage before: the student's own, if this one is."""
    return desk.stage(stage.before) if stage.own and stage.before else stage.before


def diff(stages: Sequence[Stage], chosen: bool) -> int:
    from . import diff as compared, sidebyside

    view, page = os.environ.get("VIEW") or "unified", os.environ.get("HTML", "")
    if view not in ("unified", "side"):
        raise UsageError(f"VIEW={view}: it is unified or side")
    every = _compared(stages, chosen)
    both = [(old, new) for old, new in every if old]
    if page and both:
        try:
            sidebyside.write(both, Path(page).expanduser())
        except OSError as error:
            raise UsageError(f"HTML={page}: cannot write there: {error.strerror}") from None
        print(f"written: {page}, a page of its own: open it in a browser")
        return 0
    for number, (old, new) in enumerate(every):
        print(end="\n" if number else "")
        if view == "side" and old:
            sidebyside.show(old, new)
        else:
            compared.show(new, old)
    return 0


# -- the student's desk -----------------------------------------------------------------


def _one(stages: Sequence[Stage], chosen: bool, verb: str) -> Stage:
    """These verbs are of one stage; without one, of that which the student is at."""
    if len(stages) == 1:
        return stages[0]
    if chosen:
        raise UsageError(f"one stage at a time: make {stages[-1].name} {verb}")
    at = record.present([desk.own(stage) for stage in stages])
    raise UsageError(f"{verb} is of one stage, such as: make {at.name} {verb}")


def start(stages: Sequence[Stage], chosen: bool) -> int:
    return desk.start(_one(stages, chosen, "start"))


def solution(stages: Sequence[Stage], chosen: bool) -> int:
    return desk.solution(_one(stages, chosen, "solution"))


def hint(stages: Sequence[Stage], chosen: bool) -> int:
    from . import hints

    tools.require("build")  # the test program is asked for its list
    return hints.give(_one(stages, chosen, "hint"), image.tests(arch.host()))


def progress(stages: Sequence[Stage], chosen: bool) -> int:
    mine = [desk.own(stage) for stage in stages]
    print("\n".join(record.rows(mine)))
    print(f"\nNext: {record.advice(mine)}")
    return 0


def shell(stages: Sequence[Stage], chosen: bool) -> int:
    from . import shell as terminal

    if len(stages) != 1:
        raise UsageError(f"a shell is of one stage: make {stages[-1].name} shell")
    for_kernel = _kernel()
    machine, how = _machine(for_kernel)
    print(_first_line(stages, for_kernel, how))
    with Resuming(machine) as resuming:
        built = _try_build(stages[0], for_kernel)
        return terminal.run(stages[0], built, resuming.ready()) if built else 1


def watch(stages: Sequence[Stage], chosen: bool) -> int:
    from . import watch as watcher

    stage = _one(stages, chosen, "watch")
    for_kernel = _kernel()
    machine, _ = _machine(for_kernel)
    every, _ = needs.runnable(_tests_of(stage), for_kernel)
    tests = _chosen(every)

    def judge(get, on_verdict):
        source = record.digest(stage) if stage.own else ""
        return run_tests(Judging(stage, tests, machine, every, source), get, on_verdict)

    def lines(verdicts: list[Verdict], built: Built) -> list[str]:
        return report.next_step(stage, verdicts, built, len(every)).splitlines()

    once = watcher.tester(judge, lambda: build_module(stage, for_kernel), len(tests), lines)
    return watcher.run(stage, once)


def trace(stages: Sequence[Stage], chosen: bool) -> int:
    from . import trace as recorder

    stage = _one(stages, chosen, "trace")
    for_kernel = _kernel()
    machine, how = _machine(for_kernel)
    with Resuming(machine) as resuming:
        built = _try_build(stage, for_kernel)
        if not built:
            return 1
        print(f"{_first_line([stage], for_kernel, how)}\n  {stage.title} - {stage.shown}")
        return recorder.run(stage, built, resuming.ready())


def dmesg(stages: Sequence[Stage], chosen: bool) -> int:
    from . import attach

    return attach.dmesg(_one(stages, chosen, "dmesg"))


def gdb(stages: Sequence[Stage], chosen: bool) -> int:
    from . import attach

    return attach.gdb(_one(stages, chosen, "gdb"))


def doctor() -> int:
    from . import doctor as doctor_module

    return doctor_module.report(sys.stdout)


def _docs(update: bool) -> int:
    from . import docs

    for_kernel = _kernel()
    machine, _ = _machine(for_kernel)
    return docs.run(for_kernel, machine, update)


def docs_check() -> int:
    return _docs(update=False)


def docs_update() -> int:
    return _docs(update=True)


def reports() -> int:
    from . import provoke

    for_kernel = _kernel()
    machine, how = _machine(for_kernel)
    test = next(test for test in image.tests(machine.arch) if test.name == provoke.TEST)
    print(f"{for_kernel.label}, {how}\n")
    only = os.environ.get("TESTS", "").replace(",", " ").split()
    return 1 if provoke.run(for_kernel, machine, test, only) else 0


def unit() -> int:
    # A process of its own: tests may change the environment, and exit.
    command = [sys.executable, "-S", "-m", "unittest", "discover", "-s", "judge/unit", "-t", "."]
    command += ["-v"] if VERBOSE else []
    return 1 if subprocess.run(command, cwd=TREE).returncode else 0


def walk() -> int:
    from . import walk as walker

    tools.require("test")
    return walker.run()


def clean() -> int:
    clean_builds()
    print("Builds are gone; kernels and saved VMs stay (remove the cache for those too).")
    return 0
