"""Judges a module: runs the tests in VMs, and believes nothing that it did not check.

The host knows the names of all tests before the run and wants each exactly once.
A test that is missing, doubled or unknown did not pass; neither did one in which
the kernel reported something. After such a report, or when anything got stuck,
the VM is not trusted again: the rest is run in a fresh one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from . import klog
from .build import Built
from .snapshot import Resuming
from .stages import Stage
from .tests import TestInfo
from .vm import LOG_LIMIT, Machine, Vm, VmGone

# Between two signs of life, outside of a test: starting a program, calibrating.
IDLE_SECONDS = 20
# Beyond what the guest itself allows a test, before the host ends the VM.
GRACE_SECONDS = 2
# A driver that ruins so many VMs is not worth the wait for the rest.
MOST_VMS = 6
GUEST_MODULE = "/tmp/{module}.ko"
GUEST_TESTS = "/tmp/tests"
LOADS = "module_loads_and_unloads"

BEGIN = re.compile(r"^# begin (\S+) ([\d.]+)$")
DETAIL = re.compile(r"^# (verdict|did|wanted|saw|note|ms): (.*)$")
RESULT = re.compile(r"^(ok|not ok) (\d+) (\S+)$")
SCALE = re.compile(r"^# scale ([\d.]+)")


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
    ms: int = 0
    reports: list[klog.Report] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


class Trial:
    """The tests of one stage, against one module."""

    def __init__(self, stage: Stage, built: Built, machine: Machine, tests: list[TestInfo]):
        self.stage = stage
        self.built = built
        self.machine = machine
        self.tests = {test.name: test for test in tests}
        self.verdicts: dict[str, Verdict] = {}
        self.vms = 0
        self.scale = 1.0
        self.on_verdict = lambda verdict: None

    def run(self, first: Resuming | None = None) -> list[Verdict]:
        """All tests; `first` is a VM that is on its way already."""
        while True:
            left = [name for name in self.tests if name not in self.verdicts]
            if not left:
                break
            why = self._hopeless()
            if why:
                for name in left:
                    self._record(Verdict(self.tests[name], False, "not-run", note=why))
                break
            resuming = first or Resuming(self.machine)
            first = None
            self.vms += 1
            try:
                _Round(self, resuming.ready(), left).run()
            finally:
                resuming.close()
        if first:
            first.close()
        return [self.verdicts[name] for name in self.tests]

    def _hopeless(self) -> str:
        loads = self.verdicts.get(LOADS)
        if loads and not loads.passed:
            return "the module does not load and unload"
        if self.vms >= MOST_VMS:
            return f"{self.vms} VMs were lost to this module"
        return ""

    def _record(self, verdict: Verdict) -> None:
        self.verdicts[verdict.test.name] = verdict
        self.on_verdict(verdict)


class _Round:
    """One VM's share of a trial: until the tests are through, or the VM is not to be trusted."""

    def __init__(self, trial: Trial, vm: Vm, names: list[str]):
        self.trial = trial
        self.vm = vm
        self.names = names
        self.current = ""
        self.deadline = 0.0
        self.details: dict[str, str] = {}
        self.ended = False

    def run(self) -> None:
        stage = self.trial.stage
        path = GUEST_MODULE.format(module=stage.module)
        try:
            self.vm.put(path, self.trial.built.stripped.read_bytes())
            self.vm.put(GUEST_TESTS, "\n".join(self.names).encode())
            self.vm.command(
                "run", "0", "/bin/kmsgpipe-test", "--stage", str(stage.number),
                "--name", stage.module, "--module", path, "--tests", GUEST_TESTS,
            )  # fmt: skip
            self.deadline = time.monotonic() + IDLE_SECONDS
            while not self.ended:
                self._wait_line()
        except VmGone as gone:
            self._vm_gone(str(gone))
        missing = [name for name in self.names if name not in self.trial.verdicts]
        if missing and not self.trial.verdicts.keys() & set(self.names):
            # Not one result came of this VM; the next one would fare no better.
            self._record(missing[0], "hung", saw="the test program ended without a result")

    def _wait_line(self) -> None:
        while not self.vm.has_line():
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise VmGone("time is up")
            if self.vm.log_overflow and self.current:
                raise VmGone("flood")
            self.vm.pump(min(left, 0.25))
        self._take(self.vm.line(1))

    def _take(self, line: str) -> None:
        if match := BEGIN.match(line):
            self._begin(match[1], float(match[2]))
        elif match := DETAIL.match(line):
            self.details.setdefault(match[1], match[2])
        elif match := RESULT.match(line):
            self._result(match[1] == "ok", match[3])
        elif match := SCALE.match(line):
            self.trial.scale = max(self.trial.scale, float(match[1]))
        elif line.startswith(("Bail out!", "@exit")):
            self.ended = True
        elif line and not line.startswith(("KTAP", "1..", "#", "@")):
            self.details["note"] = f"unexpected output: {line[:200]}"

    def _begin(self, name: str, seconds: float) -> None:
        if self.current or name not in self.names or name in self.trial.verdicts:
            self._distrust(f"the test program announced {name} out of turn")
            return
        self.current = name
        self.details = {}
        self.deadline = time.monotonic() + seconds + GRACE_SECONDS

    def _result(self, passed: bool, name: str) -> None:
        if name != self.current:
            self._distrust(f"a result for {name} came out of turn")
            return
        self._finish(passed, self.details.get("verdict", "passed" if passed else "failed"))

    def _distrust(self, why: str) -> None:
        if self.current and self.current not in self.trial.verdicts:
            self._record(self.current, "forged", note=why)
        self.ended = True

    def _finish(self, passed: bool, verdict: str, **more: str) -> None:
        """Ends the current test with what the runner said and what the kernel's log says."""
        name = self.current
        lines = self._log_of(name)
        reports = klog.reports(lines, self.trial.stage.module)
        if reports and passed:
            passed, verdict = False, "kernel-report"
        detail = {key: self.details.get(key, "") for key in ("did", "wanted", "saw", "note")}
        detail.update(more)
        ms = self.details.get("ms", "0")
        self._record(
            name, verdict, passed, ms=int(ms) if ms.isdigit() else 0,
            reports=reports, log=lines, **detail,
        )  # fmt: skip
        self.current = ""
        self.deadline = time.monotonic() + IDLE_SECONDS
        if reports:
            self.ended = True

    def _log_of(self, name: str) -> list[str]:
        """The log of a test. Its end mark travels on another line than its result."""
        log = lambda: self.vm.log.decode(errors="replace")  # noqa: E731
        try:
            self.vm.wait(lambda: klog.has_end(log(), name) or self.vm.log_overflow,
                         GRACE_SECONDS, "end mark")  # fmt: skip
        except VmGone:
            pass
        return klog.split_by_test(log()).get(name, [])

    def _vm_gone(self, why: str) -> None:
        if not self.current:
            return
        if why == "flood":
            self._finish(False, "log-flood",
                         saw=f"the module printed more than {LOG_LIMIT >> 20} MB to the kernel log")  # fmt: skip
        elif why == "time is up":
            self._finish(False, "hung", saw="the whole VM fell silent: no CPU answers any more")
        else:
            self._finish(False, "vm-ended", saw="the VM ended in the middle of the test")

    def _record(self, name: str, verdict: str, passed: bool = False, **more: object) -> None:
        self.trial._record(Verdict(self.trial.tests[name], passed, verdict, **more))
