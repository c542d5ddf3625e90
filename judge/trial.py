"""Judges a module: runs the tests in VMs, and believes nothing that it did not check.

The host knows the names of all tests before the run and wants each exactly once.
A test that is missing, doubled or unknown did not pass; neither did one in which
the kernel reported something. After such a report, or when anything got stuck,
the VM is not trusted again: the rest is run in a fresh one.
"""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Mapping, Sequence

from . import cmdline, klog, leaks
from .build import Built
from .snapshot import Resuming
from .stages import Stage
from .tests import TestInfo
from .vm import LOG_LIMIT, Machine, Vm, VmGone

# Between two signs of life, outside of a test: starting a program, calibrating.
IDLE_SECONDS = 20
# Beyond what the guest itself allows a test, before the host ends the VM; scaled with the
# rest. Half of it the guest takes, to see whether a process survives SIGKILL.
LATE_SECONDS = 2
# How long the log may lag behind the results.
LOG_SECONDS = 2
# What the guest says about time is believed up to here only.
MOST_TEST_SECONDS = 300
MOST_SCALE = 15
# A test whose sleeper does not wake gives up after so much of its time, see IDLE_SHARE in
# userland/tests/harness.c.
IN_VAIN = 0.2
# A driver that ruins so many VMs is not worth the wait for the rest.
MOST_VMS = 7
# As many VMs at once as the host has CPUs for, and two where it has one.
SIDE_BY_SIDE = max(2, os.cpu_count() or 2)
# So many tests are worth another VM. One that has never passed is taken to be a usual one.
SPLIT_FROM = 12
UNKNOWN_MS = 40
GUEST_MODULE = "/tmp/{module}.ko"
GUEST_TESTS = "/tmp/tests"
# Who opens it for writing says that the other two are there.
GUEST_BEGIN = "/tmp/begin"
LOADS = "module_loads_and_unloads"

BEGIN = re.compile(r"^# begin (\S+) (\d+(?:\.\d+)?)$")
UNLOAD = re.compile(r"^# unload (\d+(?:\.\d+)?)$")
DETAIL = re.compile(r"^# (verdict|did|wanted|saw|note|ms): (.*)$")
RESULT = re.compile(r"^(ok|not ok) (\d+) (\S+)$")
SCALE = re.compile(r"^# scale (\d+(?:\.\d+)?) ")


@dataclass
class Verdict:
    """What became of one test."""

    test: TestInfo
    passed: bool
    verdict: str  # passed, failed, time-out, unkillable, crashed, hung, kernel-report, ...
    did: str = ""
    wanted: str = ""
    saw: str = ""
    note: str = ""
    ms: int = 0  # as the guest says
    seconds: float = 0.0  # as the host saw it, from the test's begin to its verdict
    allowed: float = 0.0  # the most that this should have been
    in_vain: bool = False  # it failed, having waited for most of its time
    reports: list[klog.Report] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


class Lane:
    """Tests that share a VM, and that VM, resumed when it is first needed or before."""

    def __init__(self, machine: Machine, names: list[str]):
        self.machine = machine
        self.names = names
        self._coming: Future[Vm] | None = None  # what start() has begun
        self._resuming: Resuming | None = None
        self._abandoned = False

    def start(self, stage: Stage, starter: Executor) -> None:
        """Lets the VM come back, as far as it can be without a module, in another thread."""
        self._coming = starter.submit(self._start, stage, self.machine)

    def _start(self, stage: Stage, machine: Machine) -> Vm:
        """The VM, and in it the test program: it sees how slow the machine is, and waits."""
        self._resuming = Resuming(machine)
        if self._abandoned:
            self._resuming.abandon()
        vm = self._resuming.ready()
        vm.command(
            "run", "0", "/bin/kmsgpipe-test", "--stage", str(stage.number),
            "--name", stage.module, "--module", GUEST_MODULE.format(module=stage.module),
            "--tests", GUEST_TESTS, "--begin", GUEST_BEGIN,
        )  # fmt: skip
        return vm

    def vm(self, stage: Stage) -> Vm:
        return self._coming.result() if self._coming else self._start(stage, self.machine)

    def other_vm(self, stage: Stage, machine: Machine) -> Vm:
        """In place of the lane's own, which has been closed."""
        return self._start(stage, machine)

    def abandon(self) -> None:
        """From another thread: whoever waits for the VM gets VmGone."""
        self._abandoned = True
        if self._resuming:
            self._resuming.abandon()

    def close(self) -> None:
        coming, self._coming = self._coming, None
        if coming and not coming.cancel():
            if not coming.done():
                self.abandon()
            wait([coming])
        if self._resuming:
            self._resuming.close()
        self._resuming = None


class Turn:
    """The right to work: as many lanes as there are CPUs for have it at the same time."""

    def __init__(self, turns: threading.Semaphore):
        self._turns = turns
        self._mine = False

    def __enter__(self) -> "Turn":
        self._turns.acquire()
        self._mine = True
        return self

    def __exit__(self, *_: object) -> None:
        self.give_up()

    def give_up(self) -> None:
        """From now on this lane mostly waits."""
        if self._mine:
            self._mine = False
            self._turns.release()


def halves(tests: Sequence[TestInfo], costs: Mapping[str, int]) -> list[list[TestInfo]]:
    """Two shares that take about as long, each in the order of the tests."""
    total, shares = [0, 0], ([], [])
    cost = {test.name: costs.get(test.name, UNKNOWN_MS) for test in tests}
    for test in sorted(tests, key=lambda test: -cost[test.name]):
        lighter = total.index(min(total))
        total[lighter] += cost[test.name]
        shares[lighter].append(test)
    return [[test for test in tests if test in share] for share in shares]


def lean(machine: Machine) -> Machine:
    """The machine that tests begin on. What it does not tell, a Trial asks `machine` itself."""
    return replace(machine, options=cmdline.lean(machine.options))


def deal(machine: Machine, tests: Sequence[TestInfo], costs: Mapping[str, int]) -> list[Lane]:
    """The races go into a VM with two CPUs, all other tests into two VMs with one CPU each.

    Where nothing runs on it a second virtual CPU is still asked to agree each time that a
    module is loaded; emulated, that doubles the time. And a virtual CPU that spins for
    another one, which has no CPU of the host just then, spins for long: so those come last.
    """
    shares = [[test for test in tests if test.cpus == cpus] for cpus in (1, 2)]
    if len(shares[0]) >= SPLIT_FROM:
        shares[:1] = halves(shares[0], costs)
    return [
        Lane(replace(lean(machine), cpus=share[0].cpus), [test.name for test in share])
        for share in shares if share
    ]  # fmt: skip


class Trial:
    """The tests of one stage, against one module.

    The tests are dealt out to VMs that work side by side, see deal(), as far as there are
    CPUs for them.
    """

    def __init__(self, stage: Stage, built: Built, machine: Machine, tests: list[TestInfo]):
        self.stage = stage
        self.built = built
        self.machine = machine
        self.tests = {test.name: test for test in tests}
        self.verdicts: dict[str, Verdict] = {}
        # Of tests that are run again, in a VM whose kernel tells more: what they are worth if
        # it does not.
        self.first: dict[str, Verdict] = {}
        self.vms = 0
        self.scale = 1.0
        self.on_verdict = lambda verdict: None
        self.patience = 0  # after so many tests that took all of their time, no more; 0: all
        self.on_vm_done = lambda vm: None  # after its tests, while it still lives
        self._lock = threading.Lock()
        self._shown = 0
        self._lanes: Sequence[Lane] = ()
        self._stopped = False
        self._turns = threading.Semaphore(SIDE_BY_SIDE)

    def run(self, lanes: Sequence[Lane] = ()) -> list[Verdict]:
        """All tests; in one VM after the other if no lanes are given."""
        lanes = self._lanes = lanes or [Lane(self.machine, list(self.tests))]
        with ThreadPoolExecutor(len(lanes)) as pool:
            running = [pool.submit(self._run_lane, lane) for lane in lanes]
            try:
                for one in running:
                    one.result()
            except BaseException:
                # Ctrl-C, or a lane that cannot go on: do not wait for the other one's tests.
                self.stop()
                raise
        return [self.verdicts[name] for name in self.tests if name in self.verdicts]

    def stop(self) -> None:
        """From another thread, too: the VMs end, and run() returns with what it has."""
        self._stopped = True
        for lane in self._lanes:
            lane.abandon()

    def _run_lane(self, lane: Lane) -> None:
        """One VM after the other, until these tests have their verdicts."""
        try:
            while True:
                with Turn(self._turns) as turn:
                    left = [name for name in lane.names if name not in self.verdicts]
                    again = [name for name in left if name in self.first]
                    why = self._hopeless()
                    if not left or (why and not again) or self._stopped:
                        break
                    try:
                        vm = self._next_vm(lane, again)
                    except VmGone:
                        if self._stopped:
                            break
                        raise
                    _Round(self, vm, again or left, turn).run()
                    self.on_vm_done(vm)
                    lane.close()
        finally:
            lane.close()
        for name in left if why else ():
            self.record(Verdict(self.tests[name], False, "not-run", note=why))

    def _next_vm(self, lane: Lane, again: Sequence[str]) -> Vm:
        if again:
            return lane.other_vm(self.stage, replace(self.machine, cpus=lane.machine.cpus))
        self.vms += 1
        return lane.vm(self.stage)

    def tells_more_again(self, verdict: Verdict, machine: Machine) -> bool:
        """Would the kernel, run with all of its options, say who allocated what was damaged?

        Once, for the first such test: the next ones mostly fail for the same reason.
        """
        return (
            not self.first
            and cmdline.remembers(self.machine.options)
            and not cmdline.remembers(machine.options)
            and any(klog.OF_ALLOCATOR.match(report.headline) for report in verdict.reports)
        )

    def _hopeless(self) -> str:
        loads = self.verdicts.get(LOADS)
        if loads and not loads.passed:
            return "the module does not load and unload"
        if self.vms >= MOST_VMS:
            return f"{self.vms} VMs were lost to this module"
        return self.out_of_patience()

    def out_of_patience(self) -> str:
        """Why the rest is not worth the wait, to a person who waits; '' if it is."""
        late = sum(verdict.in_vain for verdict in list(self.verdicts.values()))
        if not self.patience or late < self.patience:
            return ""
        return f"{late} tests waited in vain until their time was up"

    def put_off(self, verdict: Verdict) -> None:
        """This is what the test is worth, should it not show the same when it is run again."""
        with self._lock:
            self.first[verdict.test.name] = verdict
            self.verdicts.pop(verdict.test.name, None)

    def record(self, verdict: Verdict) -> None:
        """Keeps a verdict, and shows those whose turn has come: in the order of the tests."""
        with self._lock:
            order = list(self.tests)
            changed = order.index(verdict.test.name) < self._shown
            self.verdicts[verdict.test.name] = verdict
            if changed:  # it had passed, and then something came to light
                self.on_verdict(verdict)
            while self._shown < len(order) and order[self._shown] in self.verdicts:
                self.on_verdict(self.verdicts[order[self._shown]])
                self._shown += 1


class _Round:
    """One VM's share of a trial: until the tests are through, or the VM is not to be trusted."""

    def __init__(self, trial: Trial, vm: Vm, names: list[str], turn: Turn):
        self.trial = trial
        self.turn = turn
        self.vm = vm
        self.names = names
        self.current = ""
        self.last = ""  # the test that has ended before
        self.log_taken = 0  # lines of the log that have been given to a test
        self.why = "the test program ended without a result"
        self.deadline = 0.0
        self.began = 0.0  # when the current test did
        self.granted = self.took = 0.0  # its time, and what it took without unloading
        self.unloading = False  # the current test has ended, but for its module
        self.details: dict[str, str] = {}
        self.leaks = leaks.Leaks()
        self.loaded: dict[str, list[dict[str, int]]] = {}  # by test: where the module was
        self.place: dict[str, int] | None = None  # where it was loaded to last
        self.said_log: list[str] = []  # what the runner adds from the kernel's log
        self.put_off = False  # a test is to be run again before it has a verdict
        self.ended = False

    def run(self) -> None:
        path = GUEST_MODULE.format(module=self.trial.stage.module)
        try:
            self.vm.put(path, self.trial.built.stripped)
            self.vm.put(GUEST_TESTS, "\n".join(self.names).encode())
            self.vm.touch(GUEST_BEGIN)
            self.deadline = time.monotonic() + IDLE_SECONDS
            while not self.ended:
                self._wait_line()
        except VmGone as gone:
            self._vm_gone(str(gone))
        if not self.current:
            self._late(self._log_lines())
            self._tell_leaks()
        missing = [name for name in self.names if name not in self.trial.verdicts]
        if missing and not self.put_off and not self.trial.verdicts.keys() & set(self.names):
            # Not one result came of this VM; the next one would fare no better.
            self._record(missing[0], "hung", saw=self.why)

    def _wait_line(self) -> None:
        while True:
            # Looked at before each line: lines without end are no sign of life.
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise VmGone("time is up")
            if self.vm.log_overflow and self.current:
                raise VmGone("flood")
            if self.vm.has_line():
                break
            self.vm.pump(min(left, 0.25))
        self._take(self.vm.line(1))

    def _take(self, line: str) -> None:
        if (match := BEGIN.match(line)) and self.trial.out_of_patience():
            self.ended = True
        elif match:
            self._begin(match[1], float(match[2]))
        elif match := UNLOAD.match(line):
            if self.current and not self.unloading:
                self.unloading = True
                self.took = time.monotonic() - self.began
                self._allow(float(match[1]))
        elif line.startswith("# log: "):
            self.said_log = [*self.said_log[-5:], line[7:]]
        elif self.leaks.take(line):
            pass
        elif (match := leaks.LOOKING.match(line)) and not self.current:
            self._allow(float(match[1]))
            # The rest are seconds of scanning; another VM's tests need not wait for that.
            self.turn.give_up()
        elif (starts := leaks.sections(line)) is not None:
            self.place = starts
            self.loaded.setdefault(self.current, []).append(starts)
        elif match := DETAIL.match(line):
            self.details.setdefault(match[1], match[2])
        elif match := RESULT.match(line):
            self._result(match[1] == "ok", int(match[2]), match[3])
        elif match := SCALE.match(line):
            self.trial.scale = max(self.trial.scale, min(float(match[1]), MOST_SCALE))
        elif line.startswith(("Bail out!", "@exit")):
            if self.current:
                self._finish(False, "crashed", saw=self.why)
            self.ended = True
        elif line and not line.startswith(("KTAP", "1..", "#", "@")):
            self.details["note"] = f"unexpected output: {line[:200]}"

    def _begin(self, name: str, seconds: float) -> None:
        if self.current or name not in self.names or name in self.trial.verdicts:
            self._distrust(f"the test program announced {name} out of turn", name)
            return
        self.current = name
        self.loaded[name] = [self.place] if self.place else []
        self.details, self.said_log = {}, []
        self.began = time.monotonic()
        self.granted, self.took = seconds, 0.0
        self.unloading = False
        self._allow(seconds)

    def _allow(self, seconds: float) -> None:
        """What runs now has so many seconds, and a bit to be ended if it does not end."""
        late = LATE_SECONDS * self.trial.scale
        self.deadline = time.monotonic() + min(seconds, MOST_TEST_SECONDS) + late

    def _result(self, passed: bool, index: int, name: str) -> None:
        if name != self.current:
            self._distrust(f"a result for {name} came out of turn", name)
        elif index != self.names.index(name) + 1:
            self._distrust(f"the result for {name} has the number {index} of another test", name)
        elif passed and "verdict" in self.details:
            self._distrust(f"{name} passed, with the verdict {self.details['verdict']}", name)
        else:
            self._finish(passed, self.details.get("verdict", "passed" if passed else "failed"))

    def _distrust(self, why: str, name: str) -> None:
        """Fails what a line out of turn casts doubt on: always something, and never too late."""
        judged = {self.last} & {name} or {name} & self.trial.verdicts.keys() & set(self.names)
        doubtful = {self.current, *judged} - {""}
        if not doubtful:
            left = [name for name in self.names if name not in self.trial.verdicts]
            doubtful = {left[0] if left else self.last}
        for one in sorted(doubtful):
            self._record(one, "forged", note=why)
        self.current, self.last = "", ""
        self.ended = True

    def _finish(self, passed: bool, verdict: str, came: bool = True, **more: str) -> None:
        """Ends the current test with what the runner said and what the kernel's log says."""
        name = self.current
        seconds, allowed = time.monotonic() - self.began, self.deadline - self.began
        part = self._log_of(name, came)
        self.current = ""
        self.deadline = time.monotonic() + IDLE_SECONDS
        if self._late(part.before):
            return  # this one ran in a kernel that was broken already: again, in another VM
        reports = self._reports(name, part.inside)
        if reports and passed:
            passed, verdict = False, "kernel-report"
        if passed and not part.whole:
            passed, verdict = False, "log-lost"
            self.ended = True
        detail = {key: self.details.get(key, "") for key in ("did", "wanted", "saw", "note")}
        detail.update(more)
        ms = self.details.get("ms", "0")
        self._record(
            name, verdict, passed, ms=int(ms) if ms.isdecimal() else 0,
            seconds=seconds, allowed=allowed,
            in_vain=not passed and (self.took or seconds) > IN_VAIN * self.granted,
            reports=reports, log=self.said_log or part.inside, **detail,
        )  # fmt: skip
        self.last = name
        if reports:
            self.ended = True

    def _late(self, lines: list[str]) -> bool:
        """A report in what the log has after a test's end fails that test, after the fact."""
        reports = self._reports(self.last, lines)
        before = self.trial.verdicts.get(self.last)
        if not reports or not before or before.reports:
            return False
        self._add(before, reports, lines, "The kernel reported this after the test had ended.")
        self.ended = True
        return True

    def _add(self, before: Verdict, reports: list[klog.Report], log: list[str], note: str) -> None:
        """Reports that came to light when a test had its verdict already."""
        verdict = "kernel-report" if before.passed else before.verdict
        self._settle(replace(before, passed=False, verdict=verdict, reports=reports, log=log,
                             note=before.note or note))  # fmt: skip

    def _reports(self, name: str, lines: list[str]) -> list[klog.Report]:
        """The reports in the log of a test."""
        module = self.trial.stage.module
        found = klog.reports(lines, module)
        if not found or not self.loaded.get(name):
            return found
        module_file = self.trial.built.stripped
        sections = [section for starts in self.loaded[name]
                    for section in klog.sections(module_file, starts)]  # fmt: skip
        return klog.reports(lines, module, sections)

    def _tell_leaks(self) -> None:
        """Fails the tests that lost memory of the module; the kernel's own is no matter of ours."""
        for name, lines in self.leaks.by_test():
            before = self.trial.verdicts.get(name) if name in self.names else None
            reports = [report for report in self._reports(name, lines) if report.places]
            if before and reports and not before.reports:
                self._add(before, reports, lines, "Found when all tests had ended.")

    def _log_lines(self) -> list[str]:
        """Whole lines that belong to no test yet; the last one may be on its way still."""
        return [klog.strip_stamp(line) for line in self.vm.log_lines(self.log_taken)]

    def _log_of(self, name: str, came: bool) -> klog.Part:
        """The log of a test. Its end mark travels on another line than its result."""
        try:
            if came:
                self.vm.wait(
                    lambda: self.vm.log_overflow or klog.part_of(self._log_lines(), name).whole,
                    LOG_SECONDS, "end mark",
                )  # fmt: skip
        except VmGone:
            pass
        part = klog.part_of(self._log_lines(), name)
        self.log_taken += part.taken
        return part

    def _vm_gone(self, why: str) -> None:
        if not self.current:
            return
        verdict, saw = {
            "flood": ("log-flood", f"the module printed more than {LOG_LIMIT >> 20} MB to the log"),
            "time is up": ("hung", "the whole VM fell silent: no CPU answers any more"),
        }.get(why, ("vm-ended", "the VM ended in the middle of the test"))
        self._finish(False, verdict, came=False, saw=saw)

    def _record(self, name: str, verdict: str, passed: bool = False, **more: object) -> None:
        self._settle(Verdict(self.trial.tests[name], passed, verdict, **more))

    def _settle(self, verdict: Verdict) -> None:
        """Records it, unless the test run again would tell more; then that is for the next VM."""
        first = self.trial.first.get(verdict.test.name)
        if not first and self.trial.tells_more_again(verdict, self.vm.machine):
            self.trial.put_off(verdict)
            self.put_off = self.ended = True
        else:
            self.trial.record(first if first and not verdict.reports else verdict)
