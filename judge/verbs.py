"""The verbs: what each prints and in which order it calls the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Callable, Sequence

from . import accel, arch, image, kernel, report, tools
from .build import Built, BuildFailed, build as build_module, clean as clean_builds
from .errors import CannotTest, UsageError
from .kernel import Kernel
from .snapshot import Resuming
from .stages import TREE, Stage
from .tests import TestInfo
from .trial import Trial, Verdict, deal
from .vm import Machine

if TYPE_CHECKING:
    from .grading.judging import Course

VERBOSE = os.environ.get("V") == "1"


def _kernel() -> Kernel:
    tools.require("test")
    return kernel.find(os.environ.get("KERNEL") or None)


def _machine(for_kernel: Kernel) -> tuple[Machine, str]:
    """The VM to use, and how it is run in words."""
    on = arch.host()
    machine = Machine(on, "tcg", for_kernel.image, image.initrd(on))
    chosen, why = accel.choose(machine)
    return replace(machine, accel=chosen), why


def _shown(stage: Stage, get: Callable[[], Built]) -> Built | None:
    """What get() built, and on the terminal what the compiler said; None if it failed."""
    try:
        built = get()
    except BuildFailed as failed:
        print(f"{stage.name}: {stage.source} does not compile:\n")
        print(failed)
        return None
    if built.messages:
        print(built.messages)
    return built


def _try_build(stage: Stage, for_kernel: Kernel) -> Built | None:
    return _shown(stage, lambda: build_module(stage, for_kernel))


def build(stages: Sequence[Stage], chosen: bool) -> int:
    for_kernel = _kernel()
    status = 0
    for stage in stages:
        built = _try_build(stage, for_kernel)
        if built:
            print(f"{stage.name}: {built.module}")
        else:
            status = 1
    return status


# -- test -------------------------------------------------------------------------------


def _without_32_bits(tests: list[TestInfo], for_kernel: Kernel) -> tuple[list[TestInfo], str]:
    """The tests that can be run, and a line about the others, if there are any."""
    count = sum(test.bits == 32 for test in tests)
    why = image.why_not_32_bits(arch.host(), for_kernel) if count else ""
    if not why:
        return tests, ""
    return [test for test in tests if test.bits != 32], (
        f"without the tests that are 32-bit programs ({count}): {why}"
    )


def _tests_for(stage: Stage) -> list[TestInfo]:
    tests = [test for test in image.tests(arch.host()) if test.judges(stage.number)]
    only = os.environ.get("TESTS", "").replace(",", " ").split()
    unknown = sorted(set(only) - {test.name for test in image.tests(arch.host())})
    if unknown:
        raise UsageError(f"TESTS={' '.join(unknown)}: no test has that name; V=1 shows the names")
    return [test for test in tests if not only or test.name in only]


def _show(verdict: Verdict, built: Built) -> None:
    print(report.line(verdict))
    if not verdict.passed:
        print(report.details(verdict, built))
    elif VERBOSE:
        print(f"        {verdict.test.name}, {verdict.ms} ms")


def _test_stage(
    stage: Stage, tests: list[TestInfo], machine: Machine, building: Future[Built]
) -> tuple[int, int]:
    """Judges one stage; returns how many tests passed and failed."""
    start = time.monotonic()
    lanes = deal(machine, tests)
    try:
        # The VMs come back to life while the compiler works.
        for lane in lanes:
            lane.start()
        built = _shown(stage, building.result)
        if not built:
            return 0, len(tests)
        trial = Trial(stage, built, machine, tests)
        trial.on_verdict = lambda verdict: _show(verdict, built)
        verdicts = trial.run(lanes)
    finally:
        for lane in lanes:
            lane.close()
    passed = sum(verdict.passed for verdict in verdicts)
    print(f"\n{stage.name}: {passed} of {len(verdicts)} behaviours hold "
          f"({time.monotonic() - start:.1f} s)")  # fmt: skip
    return passed, len(verdicts) - passed


def test(stages: Sequence[Stage], chosen: bool) -> int:
    for_kernel = _kernel()
    machine, how = _machine(for_kernel)
    passed = failed = 0
    with ThreadPoolExecutor(1) as pool:
        # One stage is compiled while the one before is judged.
        builds = [pool.submit(build_module, stage, for_kernel) for stage in stages]
        try:
            for stage, building in zip(stages, builds):
                print(f"\n{stage.name}: {stage.title} - {stage.source}")
                wanted = _tests_for(stage)
                tests, left_out = _without_32_bits(wanted, for_kernel)
                if left_out and not tests:
                    raise CannotTest(left_out)
                print(f"  {for_kernel.label}, {how}\n" + (f"  {left_out}\n" if left_out else ""))
                good, bad = _test_stage(stage, tests, machine, building)
                passed, failed = passed + good, failed + bad
        finally:
            pool.shutdown(cancel_futures=True)
    if not passed + failed:
        raise UsageError("none of these tests judges " + " ".join(stage.name for stage in stages))
    if len(stages) > 1:
        print(f"\nAll stages: {passed} behaviours hold, {failed} do not.")
    return 1 if failed else 0


def check(stages: Sequence[Stage], chosen: bool) -> int:
    from . import check as review

    tools.require("check")
    for_kernel = kernel.find(os.environ.get("KERNEL") or None)
    parts = [(stage.name, "checkpatch --strict, W=1, sparse",
              partial(review.stage, stage, for_kernel)) for stage in stages]  # fmt: skip
    parts.append(("include", "checkpatch --strict", review.headers))
    if not chosen:
        parts.append(("userland", "checkpatch, gcc -Wall -Wextra", review.userland))
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
    machine, _ = _machine(for_kernel)
    tests, left_out = _without_32_bits(image.tests(machine.arch), for_kernel)
    if left_out:
        print(left_out)
    return cages.verb(stages, chosen, for_kernel, machine, tests)


def _courses() -> list[Course]:
    """What a submission is judged on: kernels, their machines, and the tests for these."""
    from .grading import command
    from .grading.judging import Course

    found = []
    for name, for_kernel in command.kernels(_kernel):
        machine, _ = _machine(for_kernel)
        tests, left_out = _without_32_bits(image.tests(machine.arch), for_kernel)
        print(left_out, end="\n" if left_out else "")
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
        player.introduce(stage, for_kernel, how)
        with Resuming(machine) as resuming:
            built = _try_build(stage, for_kernel)
            failed += not (built and player.run(stage, built, resuming))
    return 1 if failed else 0


def diff(stages: Sequence[Stage], chosen: bool) -> int:
    from . import diff as compared

    for number, stage in enumerate(stages if chosen else stages[1:]):
        print(end="\n" if number else "")
        compared.show(stage)
    return 0


def shell(stages: Sequence[Stage], chosen: bool) -> int:
    from . import shell as terminal

    if len(stages) != 1:
        raise UsageError(f"a shell is of one stage: make {stages[-1].name} shell")
    for_kernel = _kernel()
    machine, _ = _machine(for_kernel)
    with Resuming(machine) as resuming:
        built = _try_build(stages[0], for_kernel)
        return terminal.run(stages[0], built, resuming.ready()) if built else 1


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


def unit() -> int:
    # A process of its own: tests may change the environment, and exit.
    command = [sys.executable, "-S", "-m", "unittest", "discover", "-s", "judge/unit", "-t", "."]
    command += ["-v"] if VERBOSE else []
    return 1 if subprocess.run(command, cwd=TREE).returncode else 0


def clean() -> int:
    clean_builds()
    print("Builds are gone; kernels and saved VMs stay (remove the cache for those too).")
    return 0
