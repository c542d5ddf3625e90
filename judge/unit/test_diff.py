"""What a stage changes: the items of a source, and both views of a difference."""

from __future__ import annotations

import io
import os
import time
import unittest
from contextlib import redirect_stdout
from unittest import mock

from judge import diff, verbs
from judge.stages import BY_NAME, STAGES, TREE

OLD = """\
// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe, lab 1: hello.
 *
 * Locking: none.
 */
#include <linux/fs.h>

static int max = 3;
module_param(max, int, 0444);

/* Old words. */
struct pipe {
	int a;
};

/* Says hello. */
static int hello(struct file *file,
		 int count)
{
	if (count) {
		return 1;
	}
	return 0;
}

static void bye(void)
{
}

static const struct file_operations fops = {
	.open = hello,
};

module_init(hello);
MODULE_DESCRIPTION("lab 1");
"""
NEW = (
    OLD.replace("lab 1: hello", "lab 2: goodbye")
    .replace('"lab 1"', '"lab 2"')
    .replace("/* Says hello. */", "/* Says hello, politely. */")
    .replace("static void bye(void)\n{\n}\n", "static char *later(void)\n{\n\treturn NULL;\n}\n")
)


class Items(unittest.TestCase):
    def test_every_item_has_its_name(self) -> None:
        self.assertEqual(
            list(diff.items(OLD)),
            [diff.TOP, diff.INCLUDES, "max", "parameter max", "struct pipe", "hello()", "bye()", "fops",
             "module_init(hello)", 'MODULE_DESCRIPTION("lab 1");'],
        )  # fmt: skip

    def test_a_comment_belongs_to_what_follows(self) -> None:
        self.assertEqual(diff.items(OLD)["hello()"][0], "/* Says hello. */")

    def test_no_line_is_lost(self) -> None:
        for stage in STAGES:
            text = (TREE / stage.source).read_text()
            kept = [line for lines in diff.items(text).values() for line in lines if line.strip()]
            wanted = [line for line in text.splitlines() if line.strip()]
            self.assertEqual(sorted(kept), sorted(wanted), stage.name)

    def test_functions_of_the_stages_are_found(self) -> None:
        for stage in STAGES:
            found = diff.items((TREE / stage.source).read_text())
            self.assertIn("kmsgpipe_init()", found, stage.name)
            self.assertIn("kmsgpipe_fops", found, stage.name)

    def test_where_an_item_ends(self) -> None:
        for text, names in (
            ("static DEFINE_MUTEX(a);\t/* why */\nint b;", ["static DEFINE_MUTEX(a);", "b"]),
            ("static void f(void) {}\nstatic int g(void)\n{\n}", ["f()", "g()"]),
            ("struct foo {\t/* c */\n\tint a;\n\tint b;\n};\nint z;", ["struct foo", "z"]),
            ("enum e {\n\tA,\n};\nunion u {\n\tint a;\n};", ["enum e", "union u"]),
            ("#define A(x) \\\n\tdo { \\\n\t} while (0)\nint z;", ["A", "z"]),
            ("int f(void)\n{\nout:\n\treturn 0;\n}\nint z;", ["f()", "z"]),
        ):
            with self.subTest(text):
                self.assertEqual(list(diff.items("/* top */\n\n" + text)), [diff.TOP, *names])


class Changes(unittest.TestCase):
    def test_new_changed_gone(self) -> None:
        self.assertEqual(
            diff.changes(OLD, NEW),
            [diff.Change("new", "later()", 4, 0), diff.Change("changed", "hello()", 1, 1),
             diff.Change("gone", "bye()", 0, 3)],
        )  # fmt: skip

    def test_titles_are_no_change(self) -> None:
        renamed = OLD.replace("lab 1: hello", "lab 2: goodbye").replace('"lab 1"', '"lab 2"')
        self.assertEqual(diff.changes(OLD, renamed), [])
        self.assertEqual(diff.unified(OLD, renamed, "a", "b"), [])

    def test_a_title_of_two_lines_is_no_change(self) -> None:
        longer = OLD.replace('("lab 1")', '("lab 2: "\n\t\t   "long")')
        self.assertEqual(diff.changes(OLD, longer), [])
        self.assertEqual(diff.unified(OLD, longer, "a", "b"), [])

    def test_the_rest_of_the_top_comment_counts(self) -> None:
        new = OLD.replace("Locking: none.", "Locking: a mutex.")
        self.assertEqual(diff.changes(OLD, new), [diff.Change("changed", diff.TOP, 1, 1)])

    def test_a_rewritten_function_takes_no_time(self) -> None:
        old, new = ([f"\t{one}{i * 7919 % 997} = foo({one}, {i});" for i in range(300)]
                    for one in ("x", "y"))  # fmt: skip
        start = time.monotonic()
        self.assertEqual(diff._counts(old, new), (300, 300))
        self.assertLess(time.monotonic() - start, 1)

    def test_unified_names_both_files_and_the_function(self) -> None:
        lines = diff.unified(OLD, NEW, "lab1/a.c", "lab2/b.c")
        self.assertEqual(lines[:2], ["--- lab1/a.c", "+++ lab2/b.c"])
        self.assertIn("+static char *later(void)", lines)


def hunks(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("@@")]


class WithoutTheTool(unittest.TestCase):
    def test_difflib_takes_over(self) -> None:
        ends = mock.Mock(returncode=2, stdout="")  # as a diff that knows no such option
        for how in ({"side_effect": FileNotFoundError("diff")}, {"return_value": ends}):
            with self.subTest(how), mock.patch("subprocess.run", **how):
                lines = diff.unified(OLD, NEW, "lab1/a.c", "lab2/b.c")
            self.assertEqual(lines[:2], ["--- lab1/a.c", "+++ lab2/b.c"])
            self.assertIn("+static char *later(void)", lines)

    def test_both_name_the_function(self) -> None:
        old = OLD.replace("\treturn 0;", "\tcount++;\n\tcount--;\nout:\n\tcount++;\n\tcount--;\n"
                          "\tcount++;\n\treturn 0;")  # fmt: skip
        new = old.replace("return 0", "return 2")
        for way in (diff._by_tool, diff._by_difflib):
            with self.subTest(way.__name__):
                (hunk,) = hunks(way(old, new, ("a", "b")))
                self.assertRegex(hunk, r"^@@ -\d+,7 \+\d+,7 @@ static int hello\(struct file")


class Shown(unittest.TestCase):
    def shown(self, stage: str) -> str:
        with redirect_stdout(io.StringIO()) as out:
            diff.show(BY_NAME[stage])
        return out.getvalue()

    def test_the_first_stage_says_so_in_a_line(self) -> None:
        self.assertRegex(self.shown("lab1"), r"^lab1: .*nothing before it.*\n$")

    def test_table_first_then_lines(self) -> None:
        for stage in STAGES[1:]:
            table, _, lines = self.shown(stage.name).partition("\n--- ")
            self.assertTrue(table.startswith(f"{stage.before.name} -> {stage.name}: "))
            self.assertIn("  new ", table)
            self.assertIn(f"\n+++ {stage.source}\n", lines)
            self.assertFalse([line for line in table.splitlines() if len(line) > 80])
            self.assertNotRegex(lines, r"(?m)^@@.*:$", "a label is no function")
            source = lines.partition("\n--- ")[0]
            self.assertNotRegex(source, r"(?m)^[-+](MODULE_DESCRIPTION| \* kmsgpipe(, lab \d)?: )")

    def test_headers_of_the_stage_are_shown(self) -> None:
        for stage in STAGES[1:]:
            for name in set(stage.headers) - set(stage.before.headers):
                text = self.shown(stage.name)
                self.assertRegex(text, rf"(?m)^  new +{name} +\+\d+$")
                self.assertIn(f"\n--- /dev/null\n+++ {stage.folder}/{name}\n", text)

    def test_colour_is_for_terminals(self) -> None:
        for tty, no_colour, wanted in ((True, "", True), (True, "1", False), (False, "", False)):
            out = io.StringIO()
            out.isatty = lambda: tty
            with self.subTest((tty, no_colour)), redirect_stdout(out), \
                 mock.patch.dict(os.environ, NO_COLOR=no_colour):
                diff.show(BY_NAME["lab2"])
            self.assertEqual("\033[" in out.getvalue(), wanted)

    def test_no_stage_means_all_neighbours(self) -> None:
        with redirect_stdout(io.StringIO()) as out:
            self.assertEqual(verbs.diff(STAGES, False), 0)
        self.assertNotIn("nothing before it", out.getvalue())
        for at, stage in enumerate(STAGES[1:]):
            start = f"{stage.before.name} -> {stage.name}: "
            self.assertIn(f"\n\n{start}" if at else start, out.getvalue())


if __name__ == "__main__":
    unittest.main()
