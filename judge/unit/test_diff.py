import unittest

from judge import diff
from judge.stages import STAGES, TREE

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
    def test_every_item_has_its_name(self):
        self.assertEqual(
            list(diff.items(OLD)),
            [diff.TOP, diff.INCLUDES, "max", "parameter max", "struct pipe", "hello()", "bye()", "fops",
             "module_init(hello)", 'MODULE_DESCRIPTION("lab 1");'],
        )  # fmt: skip

    def test_a_comment_belongs_to_what_follows(self):
        self.assertEqual(diff.items(OLD)["hello()"][0], "/* Says hello. */")

    def test_no_line_is_lost(self):
        for stage in STAGES:
            text = (TREE / stage.source).read_text()
            kept = [line for lines in diff.items(text).values() for line in lines if line.strip()]
            wanted = [line for line in text.splitlines() if line.strip()]
            self.assertEqual(sorted(kept), sorted(wanted), stage.name)

    def test_functions_of_the_stages_are_found(self):
        for stage in STAGES:
            found = diff.items((TREE / stage.source).read_text())
            self.assertIn("kmsgpipe_init()", found, stage.name)
            self.assertIn("kmsgpipe_fops", found, stage.name)


class Changes(unittest.TestCase):
    def test_new_changed_gone(self):
        self.assertEqual(
            diff.changes(OLD, NEW),
            [diff.Change("new", "later()", 4, 0), diff.Change("changed", "hello()", 1, 1),
             diff.Change("gone", "bye()", 0, 3)],
        )  # fmt: skip

    def test_titles_are_no_change(self):
        renamed = OLD.replace("lab 1: hello", "lab 2: goodbye").replace('"lab 1"', '"lab 2"')
        self.assertEqual(diff.changes(OLD, renamed), [])
        self.assertEqual(diff.unified(OLD, renamed, "a", "b"), [])

    def test_unified_names_both_files_and_the_function(self):
        lines = diff.unified(OLD, NEW, "lab1/a.c", "lab2/b.c")
        self.assertEqual(lines[:2], ["--- lab1/a.c", "+++ lab2/b.c"])
        self.assertIn("+static char *later(void)", lines)


if __name__ == "__main__":
    unittest.main()
