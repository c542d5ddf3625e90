"""The matrix: one kernel's trouble is told, and stops no other."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from unittest import mock

from judge import matrix
from judge.build import BuildFailed, Built
from judge.errors import CannotTest, UsageError
from judge.matrix import Ground
from judge.stages import BY_NAME, Stage
from judge.tests import TestInfo
from judge.trial import Verdict

STAGES = [BY_NAME["lab1"], BY_NAME["lab2"]]
BUILT = Built(Path("x.ko"), b"", "")


def verdict(name: str, word: str = "passed") -> Verdict:
    info = TestInfo.parse(f"{name}\t6\t1\tlab1.md\tit works\t")
    return Verdict(info, word == "passed", word)


def all_pass(stage: Stage) -> tuple[list[Verdict], Built]:
    return [verdict("a"), verdict("b")], BUILT


def one_fails(stage: Stage) -> tuple[list[Verdict], Built]:
    return [verdict("a"), verdict("b", "time-out")], BUILT


def compiles_not(stage: Stage) -> tuple[list[Verdict], Built]:
    if stage.name == "lab2":
        raise BuildFailed("lab2.c:1: error")
    return all_pass(stage)


def ends_midway(stage: Stage) -> tuple[list[Verdict], Built]:
    if stage.name == "lab2":
        raise CannotTest("the disk is full")
    return all_pass(stage)


class Matrix(unittest.TestCase):
    def run_matrix(self, asked: str, **grounds: object) -> tuple[int, list[str]]:
        """grounds: by kernel, what judges there, or why it cannot be had; '_' for '-'."""
        lines: list[str] = []

        def find(name: str) -> Ground:
            ground = grounds.get(name.replace("-", "_").replace(".", "_"), all_pass)
            if isinstance(ground, Exception):
                raise ground
            return Ground(f"Linux {name}", ["without 3 tests: no reason"], ground)

        with mock.patch.dict(os.environ, KERNEL=asked):
            failed = matrix.run(STAGES, find, lines.append)
        return failed, "\n".join(lines).splitlines()

    def test_all_hold(self) -> None:
        failed, lines = self.run_matrix("")
        self.assertEqual(failed, 0)
        self.assertEqual(lines[-1], "matrix: 24 behaviours hold, 0 do not, on 6 of 6 kernels")
        self.assertIn("6.12-rt         2        2      0 s", lines)
        self.assertIn("left out  race: without 3 tests: no reason", lines)

    def test_a_failure_is_named(self) -> None:
        failed, lines = self.run_matrix("debug race", debug=one_fails)
        self.assertEqual(failed, 2)
        self.assertIn("debug         1/2      1/2      0 s", lines)
        self.assertIn("FAIL  debug lab2: b (time-out)", lines)
        self.assertEqual(lines[-1], "matrix: 6 behaviours hold, 2 do not, on 2 of 2 kernels")

    def test_what_does_not_compile_fails(self) -> None:
        failed, lines = self.run_matrix("debug", debug=compiles_not)
        self.assertEqual(failed, 1)
        self.assertIn("debug           2        -      0 s", lines)
        self.assertIn("lab2.c:1: error", lines)
        self.assertIn("FAIL  debug lab2: does not compile", lines)

    def test_a_kernel_that_is_not_there_is_said(self) -> None:
        why = CannotTest("KERNEL=race is not built yet: make kernel KERNEL=race")
        failed, lines = self.run_matrix("debug,race", race=why)
        self.assertEqual(failed, 0)
        self.assertIn(f"race: not tested (lab1 lab2): {why}", lines)
        self.assertIn("race                            0 s", lines)
        self.assertEqual(lines[-1], "matrix: 4 behaviours hold, 0 do not, on 1 of 2 kernels")
        text = " ".join(line.strip() for line in lines[:-1])
        self.assertIn(f"left out  race: not tested (lab1 lab2): {why}", text)

    def test_what_was_tested_before_counts(self) -> None:
        failed, lines = self.run_matrix("6.1", **{"6_1": ends_midway})
        self.assertIn("6.1             2               0 s", lines)
        self.assertIn("left out  6.1: not tested (lab2): the disk is full", lines)

    def test_unknown_kernel(self) -> None:
        with self.assertRaisesRegex(UsageError, "make matrix knows 6.1, 6.12"):
            self.run_matrix("6.6")


if __name__ == "__main__":
    unittest.main()
