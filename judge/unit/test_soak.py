"""Soaking: a verdict that differs is told, and the load ends whatever happens."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from judge import arch, soak
from judge.build import Built
from judge.errors import UsageError
from judge.stages import BY_NAME
from judge.tests import TestInfo
from judge.trial import Verdict
from judge.vm import Machine

LAB3 = BY_NAME["lab3"]
BUILT = Built(Path("x.ko"), b"", "")
MACHINE = Machine(arch.host(), "tcg", Path("image"), Path("initrd"))


def info(name: str) -> TestInfo:
    return TestInfo.parse(f"{name}\t8\t1\tlab3.md\tit works\t64")


def verdict(name: str, word: str) -> Verdict:
    return Verdict(info(name), word == "passed", word, saw=f"{word}!")


def record(*rounds: dict[str, str]) -> soak.Record:
    one = soak.Record(LAB3, "tcg", BUILT)
    for number, words in enumerate(rounds, 1):
        one.add(number, [verdict(name, word) for name, word in words.items()])
    return one


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class Rounds(unittest.TestCase):
    def test_said(self) -> None:
        for said, count in (("", soak.ROUNDS), ("1", 1), ("50", 50)):
            with mock.patch.dict(os.environ, N=said):
                self.assertEqual(soak.rounds(), count)

    def test_nonsense(self) -> None:
        for said in ("0", "-1", "many", "1.5", "²", "10001"):
            with self.subTest(said), mock.patch.dict(os.environ, N=said):
                with self.assertRaisesRegex(UsageError, "how many rounds"):
                    soak.rounds()


class Load(unittest.TestCase):
    def test_it_runs_and_ends(self) -> None:
        with soak.load(2) as pids:
            self.assertTrue(all(alive(pid) for pid in pids))
        self.assertEqual(len(pids), 2)
        self.assertFalse(any(alive(pid) for pid in pids))

    def test_it_ends_with_ctrl_c(self) -> None:
        with self.assertRaises(KeyboardInterrupt):
            with soak.load(1) as pids:
                raise KeyboardInterrupt
        self.assertFalse(alive(pids[0]))


class Recording(unittest.TestCase):
    def test_all_alike(self) -> None:
        one = record({"a": "passed"}, {"a": "passed"})
        self.assertEqual((one.differing(), one.rows()), ([], []))

    def test_one_differs(self) -> None:
        one = record({"a": "passed", "b": "passed"}, {"a": "time-out", "b": "passed"},
                     {"a": "passed", "b": "passed"})  # fmt: skip
        self.assertEqual(one.differing(), ["a"])
        text = "\n".join(one.rows())
        self.assertIn("DIFFERS  lab3, tcg: a: passed 2 times, time-out 1 times", text)
        self.assertIn("first time-out in round 2", text)
        self.assertIn("time-out!", text)

    def test_two_ways_to_fail_differ_too(self) -> None:
        self.assertEqual(record({"a": "failed"}, {"a": "time-out"}).differing(), ["a"])

    def test_what_always_fails_is_no_flake(self) -> None:
        one = record({"a": "failed"}, {"a": "failed"})
        self.assertEqual((one.differing(), one.failing()), ([], ["a"]))
        self.assertIn("always, so no flake: a", one.rows()[0])


class Running(unittest.TestCase):
    def run_soak(self, words: list[str], machine: Machine = MACHINE) -> tuple[int, list[str]]:
        rest, said = list(words), []

        def trial(*_):
            return SimpleNamespace(run=lambda lanes: [verdict("a", rest.pop(0))])

        with mock.patch.object(soak, "Trial", trial), mock.patch.object(soak, "load") as load:
            load.return_value.__enter__.return_value = []
            count = soak.run([(LAB3, BUILT, [info("a")])], machine, 3, said.append)
        return count, said

    def test_steady(self) -> None:
        count, said = self.run_soak(["passed"] * 3)
        self.assertEqual(count, 0)
        self.assertEqual(said[-1], "soak: 3 verdicts, 0 tests whose verdict differed")

    def test_flaky(self) -> None:
        count, said = self.run_soak(["passed", "failed", "passed"])
        self.assertEqual(count, 1)
        self.assertIn("so far 1 differ", said[3])

    def test_both_accelerators(self) -> None:
        kvm = Machine(arch.host(), "kvm", Path("image"), Path("initrd"))
        count, said = self.run_soak(["passed"] * 6, kvm)
        self.assertEqual((count, len(said)), (0, 8))
        self.assertIn("lab3, kvm, round 1 of 3", said[1])
        self.assertIn("lab3, tcg, round 3 of 3", said[6])

    def test_interrupted(self) -> None:
        said: list[str] = []
        answers = [[verdict("a", "passed")], [verdict("a", "hung")], KeyboardInterrupt()]
        runner = SimpleNamespace(run=mock.Mock(side_effect=answers))
        with mock.patch.object(soak, "Trial", lambda *_: runner), mock.patch.object(soak, "load"):
            with self.assertRaises(KeyboardInterrupt):
                soak.run([(LAB3, BUILT, [info("a")])], MACHINE, 3, said.append)
        self.assertIn("DIFFERS", "\n".join(said))


if __name__ == "__main__":
    unittest.main()
