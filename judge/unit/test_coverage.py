"""Coverage: sums of counts, reasons, and when a reason is stale."""

import contextlib
import io
import unittest
from collections import Counter
from pathlib import Path

from judge import coverage
from judge.coverage import BadReasons, Counts, Reason, Share, Unreached
from judge.errors import CannotTest
from judge.kernel import Kernel
from judge.stages import STAGES, TREE

LAB1, LAB2 = STAGES[:2]


def row(number: int, count: int, *branches: int, function: str = "f") -> dict:
    return {"line_number": number, "count": count, "function_name": function,
            "branches": [{"count": taken} for taken in branches]}  # fmt: skip


class Counting(unittest.TestCase):
    def test_vms_are_summed(self) -> None:
        counts = Counts()
        counts.add([row(5, 0, 0, 0), row(6, 2)])
        counts.add([row(5, 3, 3, 0), row(6, 0)])
        self.assertEqual(counts.lines, {5: 3, 6: 2})
        self.assertEqual(counts.branches, {(5, 0): 3, (5, 1): 0})
        self.assertEqual(counts.unreached(), [])

    def test_a_line_inlined_twice_keeps_all_branches(self) -> None:
        counts = Counts()
        counts.add([row(5, 1, 1, 0), row(5, 0, 0, 0)])
        self.assertEqual(counts.lines[5], 1)
        self.assertEqual(len(counts.branches), 4)

    def test_share(self) -> None:
        self.assertEqual(coverage.share(Counter({1: 4, 2: 0, 3: 1, 4: 1})), Share(3, 4))
        self.assertEqual(str(Share(3, 4)), " 75.0 %      3/4")
        # Nothing to reach is no failure.
        self.assertEqual(coverage.share(Counter()).percent, 100.0)

    def test_unreached_by_content(self) -> None:
        counts = Counts()
        counts.add([row(1, 1), row(2, 0, function="g")])
        found = coverage.unreached(LAB1, counts, ["a;", "\tb;"])
        self.assertEqual(found, [Unreached(LAB1, 2, "g", "b;")])


class Reasons(unittest.TestCase):
    def test_reasons(self) -> None:
        text = "# words\n\nf: return -EIO;\n    no disk\n    here\ng: x: y;\n    why not\n"
        self.assertEqual(coverage.parse_reasons(text), [
            Reason("f", "return -EIO;", "no disk here"), Reason("g", "x: y;", "why not"),
        ])  # fmt: skip

    def test_bad_ones(self) -> None:
        for text in ("    why\n", "f: x;\n", "f: x;\ng: y;\n    why\n", "no colon\n    why\n",
                     "two words: x;\n    why\n"):  # fmt: skip
            with self.subTest(text), self.assertRaises(BadReasons):
                coverage.parse_reasons(text)

    def test_stale(self) -> None:
        reasons = [Reason("f", "a;", "why"), Reason("f", "b;", "why"), Reason("f", "gone;", "why")]
        missed = [Unreached(LAB1, 1, "f", "a;")]
        sources = ["\ta;\n\tb;\n"]
        self.assertEqual(coverage.stale(reasons, missed, sources, True), reasons[1:])
        # With some of the stages only, others may still need it.
        self.assertEqual(coverage.stale(reasons, missed, sources, False), reasons[2:])

    def test_of_another_function(self) -> None:
        missed = [Unreached(LAB1, 1, "g", "a;")]
        reason = Reason("f", "a;", "why")
        self.assertEqual(coverage.stale([reason], missed, ["a;"], True), [reason])

    def test_ours_can_be_read(self) -> None:
        text = coverage.REASONS.read_text()
        sources = [(TREE / stage.source).read_text() for stage in STAGES]
        self.assertEqual(coverage.stale(coverage.parse_reasons(text), [], sources, False), [])


class Reporting(unittest.TestCase):
    def report(self, reasons: list[Reason], *rows: dict) -> tuple[bool, str]:
        counts = Counts()
        counts.add(rows)
        report = coverage.Report({LAB1: counts})
        with contextlib.redirect_stdout(io.StringIO()) as out:
            good = report.show(reasons)
        return good, out.getvalue()

    def setUp(self) -> None:
        lines = (TREE / LAB1.source).read_text().splitlines()
        self.number = lines.index("\treturn ret;") + 1
        self.reason = Reason("f", "return ret;", "it is never late")
        self.many = [row(1000 + number, 1) for number in range(99)]

    def test_a_line_without_a_reason_is_a_failure(self) -> None:
        good, said = self.report([], row(self.number, 0), *self.many)
        self.assertFalse(good)
        self.assertIn("NO REASON GIVEN", said)
        self.assertIn(" 99.0 %   99/100", said)

    def test_one_with_a_reason_is_none(self) -> None:
        good, said = self.report([self.reason], row(self.number, 0), *self.many)
        self.assertTrue(good)
        self.assertIn("it is never late", said)
        self.assertIn(f"lab1:{self.number}", said)

    def test_reasons_do_not_make_up_for_too_few_lines(self) -> None:
        good, said = self.report([self.reason], row(self.number, 0), *self.many[:9])
        self.assertFalse(good)
        self.assertIn("Less than 95 % of the lines: lab1", said)

    def test_a_stale_reason_is_a_failure(self) -> None:
        good, said = self.report([Reason("f", "no such line", "why")], row(self.number, 1))
        self.assertFalse(good)
        self.assertIn("judge/unreached.txt", said)

    def test_tracefile(self) -> None:
        counts = Counts()
        counts.add([row(5, 2, 2, 0), row(6, 0, 0)])
        self.assertEqual(coverage.tracefile([(Path("/x.c"), counts)]).splitlines(), [
            "TN:", "SF:/x.c", "BRDA:5,0,0,2", "BRDA:5,0,1,0", "BRDA:6,0,0,-",
            "DA:5,2", "DA:6,0", "end_of_record",
        ])  # fmt: skip

    def test_a_kernel_that_does_not_count(self) -> None:
        with self.assertRaises(CannotTest):
            coverage.check_kernel(Kernel("Linux", "6.6.0", Path("/k"), Path("/i"), {}))


if __name__ == "__main__":
    unittest.main()
