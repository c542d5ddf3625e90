"""The student's desk: what start makes, what is remembered, and that no work is ever lost."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from judge import desk, record
from judge.errors import UsageError
from judge.stages import BY_NAME, STAGES, TREE

LAB1, LAB2, LAB3 = STAGES[:3]


class Desk(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.work = Path(scratch.name) / "work"
        env = {"KMSGPIPE_WORK": str(self.work), "KMSGPIPE_CACHE": f"{scratch.name}/cache"}
        patch = mock.patch.dict(os.environ, env)
        patch.start()
        self.addCleanup(patch.stop)
        for name in ("REF", "FORCE"):
            os.environ.pop(name, None)

    def said(self, do, *args) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(do(*args), 0)
        return out.getvalue()

    def start(self, stage, force: bool = False) -> str:
        with mock.patch.dict(os.environ, {"FORCE": "1"} if force else {}):
            return self.said(desk.start, stage)

    def passes(self, stage) -> None:
        mine = desk.own(stage)
        record.note_results(mine, record.digest(mine), {"a": "passed"}, ["a"])


class Start(Desk):
    def test_the_first_does_nothing_yet(self) -> None:
        self.start(LAB1)
        text = desk.own(LAB1).path.read_text()
        self.assertIn("module_init", text)
        for solved in ("cdev", "class", "copy_"):
            self.assertNotIn(solved, text)

    def test_the_next_is_made_from_a_lab_of_ones_own_that_passes(self) -> None:
        self.start(LAB1)
        path = desk.own(LAB1).path
        path.write_text(path.read_text() + "/* mine */\n")
        self.assertIn("the reference lab1, as your lab1 was never tested", self.start(LAB2))
        self.passes(LAB1)
        self.assertIn("your own lab1, which passes", self.start(LAB2, force=True))
        self.assertIn("/* mine */", desk.own(LAB2).path.read_text())

    def test_why_the_reference_is_taken(self) -> None:
        self.assertIn("none of your own", self.start(LAB2))
        self.start(LAB1)
        mine = desk.own(LAB1)
        source = record.digest(mine)
        record.note_results(mine, source, {"a": "passed", "b": "failed"}, ["a", "b"])
        self.assertIn("1 of 2 tests of your lab1 fail", self.start(LAB2, force=True))
        record.note_results(mine, source, {"b": "passed"}, ["a", "b", "c"])
        self.assertIn("tested in part only", self.start(LAB2, force=True))
        record.note_results(mine, source, {"c": "passed"}, ["a", "b", "c"])
        mine.path.write_text(mine.path.read_text() + "\n")
        self.assertIn("changed after its last test", self.start(LAB2, force=True))

    def test_nothing_of_the_solution_comes_along(self) -> None:
        for stage in STAGES[1:]:
            self.start(stage)
            text = desk.own(stage).path.read_text()
            before = (TREE / stage.before.source).read_text()
            mine = set(text.splitlines()) - set(before.splitlines())
            titles = [line for line in mine
                      if not line.startswith((" * kmsgpipe", "MODULE_DESCRIPTION"))]  # fmt: skip
            self.assertEqual(titles, [], stage.name)
            self.assertNotIn(f"lab {stage.before.number}", text)

    def test_work_is_never_overwritten(self) -> None:
        self.start(LAB1)
        path = desk.own(LAB1).path
        for number in (1, 2):
            path.write_text(f"mine {number}")
            with self.assertRaisesRegex(UsageError, "nothing was changed"):
                desk.start(LAB1)
            self.assertEqual(path.read_text(), f"mine {number}")
            self.assertIn(f"lab1_basic.old{number}", self.start(LAB1, force=True))
            kept = self.work / f"lab1_basic.old{number}/kmsgpipe_basic.c"
            self.assertEqual(kept.read_text(), f"mine {number}")

    def test_a_start_that_fails_leaves_all_as_it_was(self) -> None:
        self.start(LAB1)
        desk.own(LAB1).path.write_text("mine")
        with mock.patch.object(Path, "write_text", side_effect=KeyboardInterrupt), \
             self.assertRaises(KeyboardInterrupt):  # fmt: skip
            self.start(LAB1, force=True)
        self.assertEqual([path.name for path in self.work.iterdir()], ["lab1_basic"])
        self.assertEqual(desk.own(LAB1).path.read_text(), "mine")


class Renamed(unittest.TestCase):
    def renamed(self, text: str, stage=LAB3) -> str:
        return desk.renamed(text, stage.before, stage)

    def test_titles_and_names(self) -> None:
        text = self.renamed(
            " * kmsgpipe, lab 2: my queue.\n/* see kmsgpipe_buffered.c */\n"
            'char s[] = "kmsgpipe_buffered: x";\nMODULE_DESCRIPTION("mine");\n'
        )
        self.assertNotIn("buffered", text)
        for part in (" * kmsgpipe, lab 3: ", "/* see kmsgpipe_wait.c */", '"kmsgpipe_wait: x"'):
            self.assertIn(part, text)

    def test_code_stays_as_it_is(self) -> None:
        lab4 = BY_NAME["lab4"]
        code = "static int kmsgpipe_wait(void);\n/* kmsgpipe_wait() waits */\nkmsgpipe_wait ();\n"
        self.assertEqual(self.renamed(code, lab4), code)

    def test_the_capstone_has_a_file_of_another_name(self) -> None:
        text = self.renamed("/* kmsgpipe_sysfs.c builds kmsgpipe_sysfs.ko */", STAGES[-1])
        self.assertEqual(text, "/* kmsgpipe_final.c builds kmsgpipe.ko */")


class WhichSource(Desk):
    def test_yours_if_there_is_one(self) -> None:
        self.assertEqual(desk.stage(LAB1), LAB1)
        self.assertEqual(desk.announcement([LAB1]), "")
        self.start(LAB1)
        mine = desk.stage(LAB1)
        self.assertTrue(mine.own)
        self.assertTrue(mine.path.is_relative_to(self.work))
        self.assertIn("REF=1", desk.announcement([mine, LAB2]))
        with mock.patch.dict(os.environ, REF="1"):
            self.assertEqual(desk.stage(LAB1), LAB1)

    def test_a_folder_without_its_source_is_no_reference(self) -> None:
        self.start(LAB1)
        desk.own(LAB1).path.unlink()
        with self.assertRaisesRegex(UsageError, "start FORCE=1"):
            desk.stage(LAB1)

    def test_announced_within_80_columns(self) -> None:
        with mock.patch.dict(os.environ, KMSGPIPE_WORK=str(TREE / "work")):
            for stages in ([desk.own(LAB3)], list(map(desk.own, STAGES))):
                self.assertLessEqual(len(desk.announcement(stages)), 80)


class Remembered(Desk):
    def setUp(self) -> None:
        super().setUp()
        self.start(LAB1)
        self.mine = desk.own(LAB1)

    def note(self, **results: str) -> None:
        record.note_results(self.mine, record.digest(self.mine), results, ["a", "b"])

    def test_another_source_forgets_the_old_results(self) -> None:
        self.note(a="passed")
        self.mine.path.write_text("/* another */")
        self.note(b="passed")
        self.assertEqual(record.entry(self.mine).results, {"b": "passed"})

    def test_more_tests_of_one_source_add_up(self) -> None:
        self.note(b="failed")
        self.note(a="passed")
        self.assertEqual(list(record.entry(self.mine).results), ["a", "b"], "the tests' order")
        self.note(b="passed")
        self.assertEqual(record.why_not_passed(self.mine), "")

    def test_what_no_longer_compiles_does_not_pass(self) -> None:
        self.note(a="passed", b="passed")
        record.note_not_compiled(self.mine, record.digest(self.mine))
        self.assertIn("does not compile", record.why_not_passed(self.mine))

    def test_a_damaged_file_is_begun_anew(self) -> None:
        for text in ("", "{", "[1]", '{"lab1": 3}', "null"):
            (self.work / record.FILE).write_text(text)
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(record.entry(self.mine), record.Entry(), text)

    def test_the_table(self) -> None:
        stages = list(map(desk.own, STAGES))
        long = "reader_killed_in_line_takes_no_wakeup_along"
        record.note_results(self.mine, record.digest(self.mine), {long: "failed"}, [long])
        table = record.rows(stages)
        self.assertIn(f"next: {long}", table[1])
        self.assertIn("not begun", table[2])
        self.assertLessEqual(max(map(len, table)), 80)
        self.assertEqual(record.advice(stages), "make lab1 test, or make lab1 hint")
        self.passes(LAB1)
        self.assertEqual(record.advice(stages), "make lab2 start")

    def test_the_table_without_any_work(self) -> None:
        with mock.patch.dict(os.environ, KMSGPIPE_WORK=f"{self.work}/none"):
            stages = list(map(desk.own, STAGES))
            self.assertEqual(len(record.rows(stages)), len(STAGES) + 1)
            self.assertEqual(record.advice(stages), "make lab1 start")


class Solution(Desk):
    def test_it_is_a_diff_and_remembered(self) -> None:
        self.start(LAB1)
        text = self.said(desk.solution, LAB1)
        self.assertIn("+\tret = alloc_chrdev_region", text)
        self.assertTrue(record.entry(desk.own(LAB1)).solution)
        self.assertNotIn("alloc_chrdev_region", desk.own(LAB1).path.read_text())

    def test_not_before_a_start(self) -> None:
        with self.assertRaisesRegex(UsageError, "make lab1 start"):
            desk.solution(LAB1)

    def test_nothing_to_show(self) -> None:
        self.start(LAB1)
        desk.own(LAB1).path.write_text((TREE / LAB1.source).read_text())
        self.assertIn("line by line", self.said(desk.solution, LAB1))


class Tree(unittest.TestCase):
    def test_the_first_module_is_named_as_its_lab(self) -> None:
        self.assertEqual(desk.FIRST.name, Path(LAB1.source).name)
        self.assertEqual(replace(LAB1, tree=TREE), LAB1)


if __name__ == "__main__":
    unittest.main()
