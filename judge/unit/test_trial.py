"""Judging: whatever a VM says or leaves unsaid, each test has one verdict, and none for nothing."""

from __future__ import annotations

import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from judge import cmdline, trial
from judge.arch import ARCHS
from judge.build import Built
from judge.stages import STAGES
from judge.tests import TestInfo
from judge.vm import Machine, Vm, VmGone

STAGE = STAGES[0]
WARNING = "WARNING: CPU: 0 PID: 82 at x.c:9 kmsgpipe_write+0x12/0x40 [kmsgpipe_basic]"


def info(name: str, cpus: int) -> TestInfo:
    return TestInfo(name, stages=2, cpus=cpus, page="lab1.md", says=name)


class Deal(unittest.TestCase):
    machine = Machine(ARCHS[0], "tcg", Path("/image"), Path("/initrd"))

    def deal(self, tests: list[TestInfo], costs: dict[str, int]) -> list[tuple[int, list[str]]]:
        lanes = trial.deal(self.machine, tests, costs)
        return [(lane.machine.cpus, lane.names) for lane in lanes]

    def test_races_come_last_and_have_two_cpus(self) -> None:
        tests = [info("race", 2), info("a", 1)]
        self.assertEqual(self.deal(tests, {}), [(1, ["a"]), (2, ["race"])])
        self.assertEqual(self.deal(tests[:1], {}), [(2, ["race"])])

    def test_halves_take_about_as_long_and_keep_the_order(self) -> None:
        names = [f"t{number}" for number in range(trial.SPLIT_FROM)]
        costs = {name: 10 for name in names} | {"t5": 10 * (len(names) - 1)}
        dealt = self.deal([info(name, 1) for name in names], costs)
        self.assertEqual(dealt, [(1, ["t5"]), (1, [name for name in names if name != "t5"])])

    def test_their_vms_are_lean(self) -> None:
        full = replace(self.machine, options=("quiet", cmdline.SLUB_DEBUG))
        lanes = trial.deal(full, [info("race", 2), info("a", 1)], {})
        lean = cmdline.lean(full.options)
        self.assertEqual({lane.machine.options for lane in lanes}, {lean})
        self.assertNotEqual(lean, full.options)

    def test_few_tests_share_a_vm(self) -> None:
        names = [f"t{number}" for number in range(trial.SPLIT_FROM - 1)]
        self.assertEqual(self.deal([info(name, 1) for name in names], {}), [(1, names)])


class Ahead(unittest.TestCase):
    """A lane's VM comes back before it is needed."""

    def setUp(self) -> None:
        self.vms: list[SlowResuming] = []
        patch = mock.patch.object(trial, "Resuming", self.resume)
        patch.start()
        self.addCleanup(patch.stop)
        self.starter = ThreadPoolExecutor(1)
        self.addCleanup(self.starter.shutdown)
        self.lanes = [trial.Lane(None, ["a"]), trial.Lane(None, ["b"])]
        for lane in self.lanes:
            lane.start(STAGE, self.starter)

    def resume(self, _: object) -> "SlowResuming":
        self.vms.append(SlowResuming())
        return self.vms[-1]

    def test_one_after_the_other_and_as_far_as_it_gets_without_a_module(self) -> None:
        while not self.vms:
            time.sleep(0.001)
        self.assertEqual(len(self.vms), 1)
        self.vms[0].go.set()
        self.assertIs(self.lanes[0].vm(STAGE), self.vms[0].vm)
        self.assertIn("/bin/kmsgpipe-test", self.vms[0].vm.command.call_args.args)
        for lane in self.lanes:
            lane.close()
        self.assertTrue(all(vm.closed for vm in self.vms))

    def test_nobody_waits_for_it(self) -> None:
        for lane in reversed(self.lanes):
            lane.close()
        self.assertLessEqual(len(self.vms), 1)  # the second one never began
        self.assertTrue(all(vm.closed for vm in self.vms))

    def test_abandoned_before_it_began(self) -> None:
        self.lanes[1].abandon()
        while not self.vms:
            time.sleep(0.001)
        self.vms[0].go.set()
        with self.assertRaises(VmGone):
            self.lanes[1].vm(STAGE)
        for lane in self.lanes:
            lane.close()


class SlowResuming:
    """Is ready when somebody says go, or wants no more of it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.vm = mock.Mock()
        self.abandoned = self.closed = False

    def ready(self) -> mock.Mock:
        self.go.wait(60)
        if self.abandoned:
            raise VmGone("nobody waits for this VM any more")
        return self.vm

    def abandon(self) -> None:
        self.abandoned = True
        self.go.set()

    def close(self) -> None:
        self.closed = True


class Turns(unittest.TestCase):
    def test_given_up_once(self) -> None:
        turns = threading.Semaphore(1)
        with trial.Turn(turns) as turn:
            self.assertFalse(turns.acquire(blocking=False))
            turn.give_up()
            self.assertTrue(turns.acquire(blocking=False))
        self.assertFalse(turns.acquire(blocking=False))

    def test_ends_with_its_round(self) -> None:
        turns = threading.Semaphore(1)
        with self.assertRaises(VmGone), trial.Turn(turns):
            raise VmGone("ended")
        self.assertTrue(turns.acquire(blocking=False))


class GONE:
    """In a script: the VM ends here."""


class FLOOD:
    """In a script: from here on the guest sends the same line without end."""


class OVERFLOW:
    """In a script: the log has become too long."""


def log(*lines: str) -> tuple[str, ...]:
    return tuple(f"[    1.234567] {line}" for line in lines)


def marks(name: str, *inside: str) -> tuple[str, ...]:
    return log(f"judge: begin {name}", *inside, f"judge: end {name}")


def run(name: str, index: int, *inside: str, result: str = "ok", said: tuple = ()) -> list:
    """What the guest sends for one test."""
    return [f"# begin {name} 0.2", marks(name, *inside), *said, f"{result} {index} {name}"]


class Clock:
    """Time passes in here only, so that no test waits and none depends on the machine."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class FakeVm:
    """Plays a script: a str is a line of the port, a tuple are lines of the kernel log.

    A float is time that passes.
    """

    log_lines = Vm.log_lines

    def __init__(self, script: list, clock: Clock):
        self.clock = clock
        self.script = list(script)
        self.lines: list[str] = []
        self.log = bytearray()
        self.log_overflow = False
        self.flood = False
        self.names: list[str] = []

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        if path == trial.GUEST_TESTS:
            self.names = data.decode().split()

    def command(self, *words: str) -> None:
        pass

    def touch(self, path: str) -> None:
        pass

    def has_line(self) -> bool:
        return bool(self.lines) or self.flood

    def line(self, seconds: float) -> str:
        if self.flood:
            self.clock.now += 0.1
            return "# nothing new"
        return self.lines.pop(0)

    def pump(self, timeout: float) -> None:
        if not self.script:
            self.clock.now += timeout
            return
        event = self.script.pop(0)
        if event is GONE:
            self.script.insert(0, GONE)
            raise VmGone("the VM ended")
        elif event is FLOOD:
            self.flood = True
        elif event is OVERFLOW:
            self.log_overflow = True
        elif isinstance(event, float):
            self.clock.now += event
        elif isinstance(event, tuple):
            self.log += ("\n".join(event) + "\n").encode()
        else:
            self.lines.append(event)

    def wait(self, ready, seconds: float, what: str) -> None:
        deadline = self.clock.now + seconds
        while not ready():
            if self.clock.now >= deadline:
                raise VmGone(f"no {what}")
            self.pump(0.1)


class TrialCase(unittest.TestCase):
    patience = 0

    machine = Deal.machine
    lean: Machine | None = None  # what the lane has in its place

    def judge(self, *scripts: list, names: tuple = ("a", "ab", "c")) -> dict:
        """The verdicts over these VMs; each further VM says nothing."""
        case = self
        self.vms: list[FakeVm] = []
        self.shown: list[tuple[str, bool]] = []
        rest = list(scripts)
        clock = Clock()

        class FakeResuming:
            def __init__(self, machine):
                self.machine = machine

            def ready(self):
                vm = FakeVm(rest.pop(0) if rest else [], clock)
                vm.machine = self.machine
                case.vms.append(vm)
                return vm

            def close(self):
                pass

        built = Built(Path("/dev/null"), b"", "")
        tests = [TestInfo.parse(f"{name}\t2\t5\tlab1.md\tit works\t64") for name in names]
        with mock.patch.object(trial, "Resuming", FakeResuming), \
             mock.patch.object(trial, "time", SimpleNamespace(monotonic=clock.monotonic)):
            judged = trial.Trial(STAGE, built, self.machine, tests)
            judged.patience = self.patience
            judged.on_verdict = lambda v: self.shown.append((v.test.name, v.passed))
            verdicts = judged.run([trial.Lane(self.lean, list(names))] if self.lean else ())
        self.seconds = clock.now
        self.assertEqual([v.test.name for v in verdicts], list(names))
        return {v.test.name: v for v in verdicts}

    def words(self, *scripts: list, **more) -> dict[str, str]:
        verdicts = self.judge(*scripts, **more)
        for verdict in verdicts.values():
            self.assertEqual(verdict.passed, verdict.verdict == "passed", verdict)
        return {name: verdict.verdict for name, verdict in verdicts.items()}


class Ordinary(TrialCase):
    def test_all_pass_in_one_vm(self) -> None:
        script = ["KTAP version 1", "1..3", "# scale 1.00 (calibration took 20 ms)",
                  *run("a", 1), *run("ab", 2), *run("c", 3), "@exit 0"]  # fmt: skip
        self.assertEqual(self.words(script), dict.fromkeys(("a", "ab", "c"), "passed"))
        self.assertEqual(len(self.vms), 1)
        self.assertEqual(self.shown, [("a", True), ("ab", True), ("c", True)])

    def test_a_failure_says_why_and_the_rest_goes_on(self) -> None:
        said = ("# verdict: time-out", "# did: read()", "# wanted: 5", "# saw: 0", "# ms: 12")
        script = [*run("a", 1, result="not ok", said=said), *run("ab", 2), *run("c", 3), "@exit 0"]
        verdicts = self.judge(script)
        a = verdicts["a"]
        self.assertEqual((a.passed, a.verdict, a.did, a.wanted, a.saw, a.ms),
                         (False, "time-out", "read()", "5", "0", 12))  # fmt: skip
        self.assertTrue(verdicts["ab"].passed and verdicts["c"].passed)
        self.assertEqual((verdicts["ab"].did, len(self.vms)), ("", 1))

    def test_bail_out_goes_on_in_a_new_vm(self) -> None:
        first = [*run("a", 1, result="not ok", said=("# verdict: unkillable",)),
                 "Bail out! a left a process that cannot be killed", *run("ab", 2)]  # fmt: skip
        second = [*run("ab", 1, result="not ok"), *run("c", 2), "@exit 0"]
        self.assertEqual(self.words(first, second),
                         {"a": "unkillable", "ab": "failed", "c": "passed"})  # fmt: skip
        self.assertEqual(self.vms[1].names, ["ab", "c"])

    def test_runner_that_ends_early(self) -> None:
        first, second = [*run("a", 1), "@exit 0"], [*run("ab", 1), *run("c", 2), "@exit 0"]
        self.assertEqual(set(self.words(first, second).values()), {"passed"})
        self.assertEqual(self.vms[1].names, ["ab", "c"])


class Again(TrialCase):
    """A test whose memory is damaged is run once more, where the kernel says who allocated it."""

    machine = replace(Deal.machine, options=(cmdline.SLUB_DEBUG,))
    lean = replace(machine, options=cmdline.lean(machine.options))
    headline = "BUG kmalloc-64 (Tainted: G           O      ): Poison overwritten"
    allocated = "Allocated in kmsgpipe_write+0x5a/0x90 [kmsgpipe_basic] age=3 cpu=0 pid=7"

    def of_a(self, *more: list) -> tuple[dict, list]:
        verdicts = self.judge([*run("a", 1, self.headline)], *more)
        return verdicts, [sorted(report.places) for report in verdicts["a"].reports]

    def test_it_tells_more(self) -> None:
        verdicts, places = self.of_a(
            [*run("a", 1, self.headline, self.allocated), *run("ab", 2)],
            [*run("ab", 1), *run("c", 2), "@exit 0"],
        )
        self.assertEqual(places, [["kmalloc"]])
        self.assertEqual([vm.names for vm in self.vms], [["a", "ab", "c"], ["a"], ["ab", "c"]])
        self.assertEqual([vm.machine for vm in self.vms], [self.lean, self.machine, self.lean])
        self.assertEqual(self.shown, [("a", False), ("ab", True), ("c", True)])

    def test_it_passes_then_and_has_failed_all_the_same(self) -> None:
        verdicts, places = self.of_a(
            [*run("a", 1), "@exit 0"], [*run("ab", 1), *run("c", 2), "@exit 0"]
        )
        self.assertEqual((verdicts["a"].verdict, verdicts["a"].passed), ("kernel-report", False))
        self.assertEqual(places, [[]])

    def test_that_vm_says_nothing(self) -> None:
        verdicts, places = self.of_a([GONE], [*run("ab", 1), *run("c", 2), "@exit 0"])
        self.assertEqual((verdicts["a"].verdict, places), ("kernel-report", [[]]))
        self.assertTrue(verdicts["ab"].passed and verdicts["c"].passed)

    def test_what_comes_to_light_later(self) -> None:
        words = self.words(
            [*run("a", 1), log(self.headline), *run("ab", 2), "@exit 0"],
            [*run("a", 1, self.headline, self.allocated)],
            [*run("ab", 1), *run("c", 2), "@exit 0"],
        )
        self.assertEqual(words, {"a": "kernel-report", "ab": "passed", "c": "passed"})
        self.assertEqual(self.shown, [("a", True), ("a", False), ("ab", True), ("c", True)])

    def test_only_the_first_one(self) -> None:
        words = self.words(
            [*run("a", 1, self.headline)], [*run("a", 1, self.headline)],
            [*run("ab", 1, self.headline)], [*run("c", 1), "@exit 0"],
        )  # fmt: skip
        self.assertEqual(words, {"a": "kernel-report", "ab": "kernel-report", "c": "passed"})
        self.assertEqual(len(self.vms), 4)

    def test_nothing_more_to_tell(self) -> None:
        self.judge([*run("a", 1, WARNING)], [*run("ab", 1), *run("c", 2), "@exit 0"])
        self.assertEqual([vm.names for vm in self.vms], [["a", "ab", "c"], ["ab", "c"]])


class Doubt(TrialCase):
    """Lines that are missing, doubled, unknown or out of turn."""

    def fails(self, name: str, word: str, *scripts: list) -> None:
        words = self.words(*scripts)
        self.assertEqual(words[name], word)

    def test_begin_without_result(self) -> None:
        self.fails("a", "hung", ["# begin a 0.1", log("judge: begin a")])

    def test_begin_and_then_exit(self) -> None:
        words = self.words(*[["# begin a 0.1", "@exit 1"]] * 6)
        self.assertNotIn("passed", words.values())

    def test_doubled_result_takes_the_pass_back(self) -> None:
        self.fails("a", "forged", [*run("a", 1), "ok 1 a", *run("ab", 2)])
        self.assertIn(("a", False), self.shown)

    def test_doubled_result_much_later(self) -> None:
        words = self.words([*run("a", 1), *run("ab", 2), "ok 1 a", *run("c", 3)])
        self.assertEqual((words["a"], words["ab"]), ("forged", "passed"))

    def test_not_ok_after_ok(self) -> None:
        self.fails("a", "forged", [*run("a", 1), "not ok 1 a"])

    def test_result_of_another_test(self) -> None:
        self.fails("a", "forged", ["# begin a 0.2", marks("a"), "ok 2 ab"])

    def test_result_without_begin(self) -> None:
        self.fails("a", "forged", [marks("a"), "ok 1 a", *run("ab", 2)])

    def test_unknown_name(self) -> None:
        self.fails("a", "forged", ["ok 1 nobody"])
        self.fails("c", "forged", [*run("a", 1), *run("ab", 2), *run("c", 3), "ok 4 nobody"])

    def test_begin_of_unknown_test(self) -> None:
        self.fails("ab", "forged", [*run("a", 1), "# begin nobody 1.0"])

    def test_begin_twice(self) -> None:
        self.fails("a", "forged", ["# begin a 0.2", "# begin a 0.2", marks("a"), "ok 1 a"])

    def test_begin_of_a_judged_test(self) -> None:
        self.fails("a", "forged", [*run("a", 1, result="not ok"), *run("a", 1)])

    def test_number_of_another_test(self) -> None:
        self.fails("a", "forged", run("a", 2))

    def test_pass_with_a_verdict(self) -> None:
        self.fails("a", "forged", run("a", 1, said=("# verdict: failed",)))

    def test_numbers_that_are_none(self) -> None:
        script = ["# scale 1.2.3 x", "# begin a 1.2.3", "ok 1 a"]
        self.assertNotIn("passed", self.words(script).values())

    def test_time_without_end_is_not_granted(self) -> None:
        self.fails("a", "hung", ["# begin a 99999999"])
        self.assertLess(self.seconds, 2 * trial.MOST_TEST_SECONDS)

    def test_a_scale_without_end_is_not_granted(self) -> None:
        self.fails("a", "hung", ["# scale 999999999 x", "# begin a 1"])
        self.assertLess(self.seconds, 2 * trial.MOST_TEST_SECONDS)

    def test_text_of_a_test_is_no_result(self) -> None:
        script = [*run("a", 1, result="not ok", said=("ok 1 a and more", "xok 1 a")),
                  *run("ab", 2), *run("c", 3), "@exit 0"]  # fmt: skip
        verdicts = self.judge(script)
        self.assertIn("unexpected output: xok 1 a", verdicts["a"].note)


class Silence(TrialCase):
    def test_vms_that_say_nothing_come_to_an_end(self) -> None:
        words = self.words()
        self.assertEqual(set(words.values()), {"hung"})
        self.assertLessEqual(len(self.vms), 3)

    def test_lines_without_end_are_no_sign_of_life(self) -> None:
        words = self.words([FLOOD])
        self.assertEqual(words["a"], "hung")
        words = self.words(["# begin a 0.1", FLOOD])
        self.assertEqual(words["a"], "hung")

    def test_log_flood(self) -> None:
        words = self.words(["# begin a 60", log("judge: begin a", "x"), OVERFLOW],
                           [*run("ab", 1), *run("c", 2), "@exit 0"])  # fmt: skip
        self.assertEqual(words["a"], "log-flood")
        self.assertLess(self.seconds, 3)

    def test_the_vm_ends_in_a_test(self) -> None:
        panic = log("judge: begin a", "Kernel panic - not syncing: Fatal exception")
        verdicts = self.judge(["# begin a 60", panic, GONE], [*run("ab", 1), *run("c", 2)])
        self.assertEqual(verdicts["a"].verdict, "vm-ended")
        self.assertEqual([r.kind.name for r in verdicts["a"].reports], ["panic"])
        self.assertTrue(verdicts["c"].passed)

    def test_the_vm_ends_before_the_first_test(self) -> None:
        self.assertNotIn("passed", self.words(*[[GONE]] * 9).values())

    def test_a_module_that_ruins_every_vm(self) -> None:
        names = tuple(f"t{i}" for i in range(trial.MOST_VMS + 3))
        scripts = [[f"# begin {name} 60", GONE] for name in names]
        words = self.words(*scripts, names=names)
        self.assertEqual(list(words.values()), ["vm-ended"] * trial.MOST_VMS + ["not-run"] * 3)

    def test_a_module_that_does_not_load(self) -> None:
        names = (trial.LOADS, "b", "c")
        words = self.words([*run(trial.LOADS, 1, WARNING)], names=names)
        self.assertEqual(words, {trial.LOADS: "kernel-report", "b": "not-run", "c": "not-run"})
        self.assertEqual(len(self.vms), 1)


class Patience(TrialCase):
    """For a person who waits: what runs into its time-out again and again is not gone on with."""

    NAMES = ("a", "b", "c", "d", "e")

    def played(self, *waits: float) -> list[str]:
        script: list = []
        for number, (name, wait) in enumerate(zip(self.NAMES, waits), 1):
            begin, log, result = run(name, number, result="not ok" if wait else "ok")
            script += [begin, *[wait] * bool(wait), "# unload 5", log, result]
        return list(self.words([*script, "@exit 0"], names=self.NAMES).values())

    def test_after_the_second(self) -> None:
        self.patience = 2
        self.assertEqual(self.played(2.0, 0, 2.0, 0, 2.0),
                         ["failed", "passed", "failed", "not-run", "not-run"])  # fmt: skip
        self.assertEqual(len(self.vms), 1)

    def test_failures_that_come_at_once_do_not_count(self) -> None:
        self.patience = 2
        self.assertEqual(self.played(0.01, 0.01, 0.01, 0.01, 0), ["failed"] * 4 + ["passed"])

    def test_who_grades_wants_all(self) -> None:
        self.assertEqual(self.played(2.0, 2.0, 2.0, 2.0, 0), ["failed"] * 4 + ["passed"])


class KernelLog(TrialCase):
    def test_a_report_fails_a_passing_test_and_its_vm(self) -> None:
        verdicts = self.judge([*run("a", 1, WARNING), *run("ab", 2)],
                              [*run("ab", 1), *run("c", 2)])  # fmt: skip
        self.assertEqual(verdicts["a"].verdict, "kernel-report")
        self.assertEqual(verdicts["a"].reports[0].places, {"at": ("kmsgpipe_write", 0x12)})
        self.assertTrue(verdicts["ab"].passed)
        self.assertEqual(self.vms[1].names, ["ab", "c"])

    def test_lines_of_each_test(self) -> None:
        script = [*run("a", 1, "x: one"), *run("ab", 2, "x: two"), *run("c", 3), "@exit 0"]
        verdicts = self.judge(script)
        self.assertEqual([v.log for v in verdicts.values()], [["x: one"], ["x: two"], []])

    def test_a_report_between_tests_is_the_earlier_ones(self) -> None:
        script = [*run("a", 1), log(WARNING), *run("ab", 2), *run("c", 3)]
        verdicts = self.judge(script, [*run("ab", 1), *run("c", 2)])
        self.assertEqual(verdicts["a"].verdict, "kernel-report")
        self.assertIn("after the test had ended", verdicts["a"].note)
        self.assertTrue(verdicts["ab"].passed and verdicts["c"].passed)
        self.assertEqual(self.vms[1].names, ["ab", "c"])
        self.assertIn(("a", False), self.shown)

    def test_a_report_after_the_last_test(self) -> None:
        words = self.words([*run("a", 1), *run("ab", 2), *run("c", 3), log(WARNING), "@exit 0"])
        self.assertEqual(words, {"a": "passed", "ab": "passed", "c": "kernel-report"})

    def test_a_log_without_marks(self) -> None:
        for lines in ((), log("judge: begin a"), log("judge: end a"),
                      log("judge: begin ab", "judge: end ab"),
                      log("judge: begin a", "judge: end ab"),
                      log("judge: begin a", "x: judge: end a")):  # fmt: skip
            with self.subTest(lines):
                words = self.words(["# begin a 0.2", *([lines] if lines else []), "ok 1 a"])
                self.assertEqual(words["a"], "log-lost")

    def test_a_vm_without_marks_is_left(self) -> None:
        script = ["# begin a 0.2", "ok 1 a", *run("ab", 2), *run("c", 3)]
        self.judge(script, [*run("ab", 1), *run("c", 2), "@exit 0"])
        self.assertEqual(self.vms[1].names, ["ab", "c"])

    def test_a_late_report_on_a_failed_test(self) -> None:
        said = ("# verdict: time-out", "# saw: nothing")
        script = [*run("a", 1, result="not ok", said=said), log(WARNING), *run("ab", 2)]
        a = self.judge(script, [*run("ab", 1), *run("c", 2)])["a"]
        self.assertEqual((a.verdict, a.saw, len(a.reports)), ("time-out", "nothing", 1))

    def test_where_the_module_was_loaded_to_holds_until_told_otherwise(self) -> None:
        first, second = "# text .text=0x1000", "# text .text=0x2000"
        script = [*run("a", 1, said=(first,)), *run("ab", 2, said=(second,)), *run("c", 3, WARNING)]
        with mock.patch.object(trial.klog, "sections", return_value=()) as asked:
            self.judge(script)
            self.assertEqual([call.args[1] for call in asked.mock_calls], [{".text": 0x2000}])
            asked.reset_mock()
            self.judge([*run("a", 1, said=(first,)), *run("ab", 2, WARNING, said=(second,))],
                       [*run("c", 1, WARNING), "@exit 0"])  # fmt: skip
            self.assertEqual([call.args[1] for call in asked.mock_calls],
                             [{".text": 0x1000}, {".text": 0x2000}])  # fmt: skip

    def test_the_end_mark_comes_later_than_the_result(self) -> None:
        script = ["# begin a 0.2", log("judge: begin a"), "ok 1 a", log("judge: end a"),
                  *run("ab", 2), *run("c", 3), "@exit 0"]  # fmt: skip
        self.assertEqual(set(self.words(script).values()), {"passed"})

    def test_a_report_behind_forged_marks(self) -> None:
        for forged in (("judge: end a", "judge: begin ab"), ("judge: begin c",),
                       ("judge: end a",), ("judge: begin a",)):  # fmt: skip
            with self.subTest(forged):
                script = [*run("a", 1, *forged, WARNING), *run("ab", 2), *run("c", 3), "@exit 0"]
                self.assertEqual(self.words(script)["a"], "kernel-report")


if __name__ == "__main__":
    unittest.main()
