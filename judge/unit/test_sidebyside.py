"""Two stages in two columns, as text and as a page; and which two FROM= and TO= name."""

from __future__ import annotations

import os
import re
import tempfile
import unittest
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from judge import diff, sidebyside, verbs
from judge.errors import UsageError
from judge.sidebyside import Pair, Row
from judge.stages import BY_NAME, STAGES

LAB2, LAB3, LAB5 = (BY_NAME[name] for name in ("lab2", "lab3", "lab5"))


def verb(stages=STAGES, chosen=False, **variables: str) -> str:
    clean = {name: "" for name in ("FROM", "TO", "VIEW", "HTML")}
    out = StringIO()
    with mock.patch.dict(os.environ, {**clean, **variables}), redirect_stdout(out):
        verbs.diff(stages, chosen)
    return out.getvalue()


class Rows(unittest.TestCase):
    def test_each_kind(self) -> None:
        old = "f()\n{\n\ta;\n\tb;\n\tc;\n}\n"
        new = "f()\n{\n\tA;\n\tb;\n\tc;\n\td;\n}\n"
        found = list(sidebyside.rows(old, new))
        self.assertIn(Row("changed", 3, "\ta;", 3, "\tA;"), found)
        self.assertIn(Row("new", 0, "", 6, "\td;"), found)
        self.assertIn(Row("equal", 6, "}", 7, "}"), found)
        self.assertEqual(found[0].kind, "gap")
        gone = [row for row in sidebyside.rows(new, old) if row.kind == "gone"]
        self.assertEqual(gone, [Row("gone", 6, "\td;")])

    def test_nothing_differs(self) -> None:
        self.assertEqual(list(sidebyside.rows("a\n", "a\n")), [])

    def test_no_line_of_a_stage_is_lost(self) -> None:
        for before, stage in zip(STAGES, STAGES[1:]):
            with self.subTest(stage.name):
                new = diff.read(stage.path).splitlines()
                old = diff.retitled(diff.read(before.path), "\n".join(new)).splitlines()
                pair = next(sidebyside.pairs(before, stage))
                for row in pair.rows:
                    if row.kind != "gap":
                        self.assertIn(row.old, ["", *old[row.old_number - 1 : row.old_number]])
                        self.assertIn(row.new, ["", *new[row.new_number - 1 : row.new_number]])
                shown = {row.new_number for row in pair.rows if row.kind in ("new", "changed")}
                gone = {row.old_number for row in pair.rows if row.kind in ("gone", "changed")}
                kept = [line for at, line in enumerate(new, 1) if at not in shown]
                self.assertEqual(kept, [line for at, line in enumerate(old, 1) if at not in gone])


class Terminal(unittest.TestCase):
    def test_80_columns(self) -> None:
        for line in verb(FROM="lab2", TO="lab5", VIEW="side").splitlines():
            self.assertLessEqual(len(line), 80)
            self.assertNotIn("\033", line)

    def test_a_long_line_is_wrapped_not_cut(self) -> None:
        words = [f"word{number}" for number in range(30)]
        pair = Pair("a", "b", [Row("new", 0, "", 1, " ".join(words))])
        text = "\n".join(sidebyside.text(pair, 80, False))
        self.assertTrue(all(word in text for word in words))

    def test_colour(self) -> None:
        pair = Pair("a", "b", [Row("changed", 1, "x", 1, "y")])
        self.assertIn("\033[31m", "\n".join(sidebyside.text(pair, 80, True)))


class Page(unittest.TestCase):
    def test_stands_alone(self) -> None:
        page = sidebyside.page([(LAB2, LAB5)])
        self.assertNotRegex(page, r"(?i)<script|<link|<img|src=|url\(|@import|https?://(?!\S*spdx)")
        self.assertEqual(page.count("<table"), page.count("</table>"))
        self.assertIn("kmsgpipe_take_expired()", page)

    def test_source_is_text(self) -> None:
        row = sidebyside._row(Row("new", 0, "", 1, "#include <linux/fs.h> <script>"))
        self.assertIn("&lt;linux/fs.h&gt; &lt;script&gt;", row)

    def test_the_words_that_changed(self) -> None:
        old, new = sidebyside._marked("return max_msgs < 3;", "return max_msgs < 4;")
        self.assertEqual(
            (old, new), ("return max_msgs &lt; <b>3</b>;", "return max_msgs &lt; <b>4</b>;")
        )

    def test_other_lines_altogether_have_no_marks(self) -> None:
        self.assertEqual(sidebyside._marked("abc", "x = y();"), ("abc", "x = y();"))

    def test_written(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.html"
            verb(HTML=str(path))
            sections = re.findall(r"<h2>(\w+) &rarr; (\w+)", path.read_text())
            self.assertEqual(sections, [(a.name, b.name) for a, b in zip(STAGES, STAGES[1:])])
            with self.assertRaisesRegex(UsageError, "cannot write there"):
                verb(HTML=f"{folder}/missing/x.html")


class Which(unittest.TestCase):
    def heads(self, *args, **variables: str) -> list[str]:
        return re.findall(r"^(\w+ -> \w+):", verb(*args, **variables), re.M)

    def test_from_and_to(self) -> None:
        self.assertEqual(self.heads(FROM="lab2", TO="lab5"), ["lab2 -> lab5"])
        self.assertEqual(self.heads(FROM="lab5", TO="lab2"), ["lab5 -> lab2"])

    def test_to_alone(self) -> None:
        self.assertEqual(self.heads(TO="lab3"), ["lab2 -> lab3"])

    def test_from_and_a_stage(self) -> None:
        self.assertEqual(self.heads([LAB5], True, FROM="lab2"), ["lab2 -> lab5"])

    def test_all(self) -> None:
        self.assertEqual(len(self.heads()), len(STAGES) - 1)

    def test_refused(self) -> None:
        for args, variables, says in (
            ((), {"FROM": "lab9"}, "FROM=lab9: it is one of"),
            ((), {"FROM": "lab2"}, "needs TO="),
            (([LAB3], True), {"TO": "lab2"}, "both say"),
            ((), {"VIEW": "up"}, "unified or side"),
        ):
            with self.subTest(variables), self.assertRaisesRegex(UsageError, says):
                verb(*args, **variables)


if __name__ == "__main__":
    unittest.main()
