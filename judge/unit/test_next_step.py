"""What a student reads at the end of a test: the one thing to do next."""

from __future__ import annotations

import unittest
from dataclasses import replace
from pathlib import Path

from judge import report
from judge.build import Built
from judge.stages import STAGES
from judge.tests import TestInfo
from judge.trial import Verdict

LAB1 = replace(STAGES[0], tree=Path("/home/student/work"))
BUILT = Built(Path("x.ko"), b"", "")


def verdict(name: str, passed: bool = False, word: str = "failed", **more: str) -> Verdict:
    test = TestInfo(name, ~1, 1, "lab1.md#node", f"says {name}")
    return Verdict(test, passed, "passed" if passed else word, **more)


class NextStep(unittest.TestCase):
    def said(self, *verdicts: Verdict, every: int = 0, stage=LAB1) -> str:
        return report.next_step(stage, list(verdicts), BUILT, every or len(verdicts))

    def test_the_first_failure_with_its_reasons(self) -> None:
        text = self.said(verdict("a", True), verdict("b", did="call()", wanted="0", saw="1"),
                         verdict("c"), verdict("d"))  # fmt: skip
        order = ["says b", "did      call()", "expected 0", "saw      1", "docs/labs/lab1.md#node",
                 "make lab1 hint", "2 more fail", "TESTS=c"]  # fmt: skip
        places = [text.index(part) for part in order]
        self.assertEqual(places, sorted(places))
        self.assertNotIn("says a", text)
        self.assertNotIn("says c", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_one_more_and_none(self) -> None:
        self.assertIn("1 more fails", self.said(verdict("b"), verdict("c")))
        self.assertNotIn("more", self.said(verdict("b")))

    def test_what_was_not_run_is_counted(self) -> None:
        text = self.said(verdict("b"), *(verdict(name, word="not-run", note="it does not load")
                                         for name in "cde"))  # fmt: skip
        self.assertIn("3 more were not run: it does not load", text)
        self.assertNotIn("TESTS=", text)

    def test_what_was_not_run_is_nothing_to_work_on(self) -> None:
        text = self.said(verdict("a", word="not-run", note="too late"), verdict("b", did="x()"))
        self.assertIn("did      x()", text)

    def test_a_pass_names_the_next_lab(self) -> None:
        self.assertIn("make lab2 start", self.said(verdict("a", True)))
        last = replace(STAGES[-1], tree=LAB1.tree)
        self.assertIn("the last stage", self.said(verdict("a", True), stage=last))

    def test_a_part_that_passes_is_not_all(self) -> None:
        text = self.said(verdict("a", True), every=27)
        self.assertIn("make lab1 test", text)
        self.assertNotIn("lab2", text)


if __name__ == "__main__":
    unittest.main()
