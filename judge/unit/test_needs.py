"""Tests that not every kernel can run: left out, and never in silence."""

import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from judge import arch, image, needs
from judge.kernel import Kernel
from judge.tests import TestInfo

PLAIN = TestInfo.parse("fifo\tfffffffc\t1\tlab2.md#fifo\tit is first\t")
NARROW = TestInfo.parse("fifo_in_32_bits\tfffffff0\t1\tlab2.md#fifo\tit is (32)\t32-bit-programs")
FAILING = TestInfo.parse("fails\tfffffffe\t1\tlab1.md#faults\tit fails\tfault-injection")
BOTH = replace(FAILING, name="both", needs=("fault-injection", "32-bit-programs"))
FAULTS = {option: "y" for option in needs.FAULT_OPTIONS}


def kernel(**config: str) -> Kernel:
    return Kernel("Linux 6.6", "6.6.0", Path("/kdir"), Path("/image"), config)


class LeavingOut(unittest.TestCase):
    def split(self, tests: list[TestInfo], no_32_bits: str = "",
              **config: str) -> tuple[list[TestInfo], list[str]]:  # fmt: skip
        with mock.patch.object(arch, "host", return_value=arch.ARCHS[0]), \
                mock.patch.object(image, "why_not_32_bits", return_value=no_32_bits) as asked:
            found = needs.runnable(tests, kernel(**config))
        # To answer may mean to fetch a library.
        self.assertEqual(asked.called, any("32-bit-programs" in test.needs for test in found[0])
                         or any("32-bit" in line for line in found[1]))  # fmt: skip
        return found

    def test_all_can_run(self) -> None:
        every = [PLAIN, NARROW, FAILING, BOTH]
        self.assertEqual(self.split(every, **FAULTS), (every, []))

    def test_no_32_bit_programs(self) -> None:
        tests, said = self.split([PLAIN, NARROW, FAILING], "no library", **FAULTS)
        self.assertEqual(tests, [PLAIN, FAILING])
        self.assertEqual(said, ["without the tests that are 32-bit programs (1): no library"])

    def test_no_fault_injection(self) -> None:
        for option in needs.FAULT_OPTIONS:
            tests, said = self.split([PLAIN, FAILING], **{**FAULTS, option: "n"})
            self.assertEqual(tests, [PLAIN])
            self.assertEqual(said, ["without the tests that make allocations and copies fail (1): "
                                    f"this kernel has no {option}"])  # fmt: skip

    def test_neither(self) -> None:
        tests, said = self.split([PLAIN, NARROW, FAILING, BOTH], "no library")
        self.assertEqual(tests, [PLAIN])
        # One that needs both is counted once.
        self.assertEqual([line.partition(":")[0][-3:] for line in said], ["(2)", "(1)"])

    def test_nothing_is_said_of_nothing(self) -> None:
        self.assertEqual(self.split([PLAIN], "no library"), ([PLAIN], []))


class Listing(unittest.TestCase):
    def test_words(self) -> None:
        self.assertEqual(PLAIN.needs, ())
        self.assertEqual(FAILING.needs, ("fault-injection",))
        line = "x\t2\t1\tlab1.md#x\tx\tfault-injection 32-bit-programs"
        self.assertEqual(TestInfo.parse(line).needs, ("fault-injection", "32-bit-programs"))

    def test_every_word_is_known(self) -> None:
        header = (image.TREE / "userland/tests/harness.h").read_text()
        self.assertIn('FAULT_INJECTION\t"fault-injection"', header)
        runner = (image.TREE / "userland/tests/harness.c").read_text()
        self.assertIn('NEEDS_32\t"32-bit-programs"', runner)

    def test_listed_from_lab_4_on(self) -> None:
        self.assertEqual([NARROW.judges(n) for n in (1, 2, 3, 4)], [False] * 3 + [True])


if __name__ == "__main__":
    unittest.main()
