"""The table of kinds: its sentences, its page, and the modules that provoke them."""

from __future__ import annotations

import re
import unittest

from judge import kinds, klog, provoke
from judge.stages import STAGES, TREE

# Kinds without a module in judge/reports/, and why.
NOT_PROVOKED = {
    "out-of-bounds": "KFENCE samples: it sees one allocation in a hundred milliseconds",
    "kasan": "what KASAN cannot name",
    "slab": "what the allocator cannot name",
    "work-stall": "CONFIG_WQ_WATCHDOG is in no kernel of the course",
    "other": "what this table does not know",
}


class Table(unittest.TestCase):
    def test_names_are_unique(self) -> None:
        self.assertEqual(len(kinds.KINDS), len(kinds.TABLE))

    def test_one_sentence_each(self) -> None:
        for kind in kinds.TABLE:
            for sentence in (kind.means, *kind.causes.values()):
                with self.subTest(kind.name, sentence=sentence):
                    self.assertRegex(sentence, r"^[A-Za-z].*[^.]\.$")
                    # An abbreviation of the code, such as 6b6b..., is no end of a sentence.
                    self.assertEqual(len(re.findall(r"[a-z)]\. [A-Z]", sentence)), 0)

    def test_causes_are_of_stages(self) -> None:
        numbers = [stage.number for stage in STAGES]
        for kind in kinds.TABLE:
            with self.subTest(kind.name):
                self.assertEqual(list(kind.causes), sorted(kind.causes))
                self.assertEqual(next(iter(kind.causes)), 1)
                self.assertLessEqual(set(kind.causes), set(numbers))

    def test_the_latest_lab_that_has_one_counts(self) -> None:
        kind = kinds.Kind("x", "X.", {1: "one", 3: "three"})
        self.assertEqual([kind.cause(n) for n in range(5)], ["one", "one", "one", "three", "three"])

    def test_examples_are_of_their_kind(self) -> None:
        proof = "CPU: 1 PID: 97 Comm: cat Tainted: G OE 6.6.93"
        gone = "#PF: supervisor instruction fetch in kernel mode"
        for kind in kinds.TABLE:
            with self.subTest(kind.name):
                more = [gone] if kind.name == "code-gone" else [proof]
                found = klog.reports([kind.example, *more], "kmsgpipe")
                self.assertEqual([report.kind.name for report in found], [kind.name])

    def test_each_kind_can_start(self) -> None:
        begun = {kind.name for kind, _ in kinds.STARTS} | {kind.name for *_, kind in kinds.REFINED}
        self.assertEqual(set(kinds.KINDS) - begun, {"other"})

    def test_the_page_is_of_this_table(self) -> None:
        self.assertEqual((TREE / "docs/reports.md").read_text(), kinds.page(),
                         "write it anew: python3 -m judge.kinds > docs/reports.md")  # fmt: skip


class Modules(unittest.TestCase):
    def test_each_kind_has_one(self) -> None:
        provoked = {module.kind for module in provoke.modules()}
        self.assertEqual(set(kinds.KINDS) - provoked, set(NOT_PROVOKED))
        self.assertFalse(provoked & set(NOT_PROVOKED))

    def test_needs_are_options(self) -> None:
        for module in provoke.modules():
            for option in module.needs:
                self.assertRegex(option, r"^!?CONFIG_[A-Z0-9_]+$", module.name)

    def test_what_a_kernel_lacks(self) -> None:
        module = provoke.Module("m", "leak", ("CONFIG_A", "!CONFIG_B"), {"at": 1})
        self.assertEqual(module.lacking({"CONFIG_A": "y"}), "")
        self.assertEqual(module.lacking({"CONFIG_A": "m"}), "CONFIG_A is not set")
        self.assertEqual(module.lacking({"CONFIG_A": "y", "CONFIG_B": "y"}), "CONFIG_B is set")

    def test_bad_files(self) -> None:
        head = "/*\n * Kind: leak\n */\n"
        mark = "x; /* guilty: at */\n"
        self.assertEqual(provoke.parse("m", head + mark).lines, {"at": 4})
        for text in (mark, head, head + mark + mark, head.replace("leak", "leek") + mark):
            with self.assertRaises(provoke.BadModule):
                provoke.parse("m", text)


class Compare(unittest.TestCase):
    MODULE = provoke.Module("m", "leak", (), {"kmalloc": 7})

    def verdict(self, *starts: str):
        reports = klog.reports(list(starts), "m")
        return type("Verdict", (), {"reports": reports, "verdict": "passed", "saw": ""})

    def wrong(self, place: str, *starts: str) -> list[str]:
        return provoke.compare(self.MODULE, self.verdict(*starts), lambda report, word: place)

    def test_right(self) -> None:
        self.assertEqual(self.wrong("m.c:7", kinds.KINDS["leak"].example), [])

    def test_no_report(self) -> None:
        self.assertIn("no report at all", self.wrong("")[0])

    def test_another_kind(self) -> None:
        self.assertIn(
            "taken for null-pointer", self.wrong("", kinds.KINDS["null-pointer"].example)[0]
        )

    def test_another_line(self) -> None:
        for place in ("m.c:8", ""):
            self.assertEqual(len(self.wrong(place, kinds.KINDS["leak"].example)), 1)


if __name__ == "__main__":
    unittest.main()
