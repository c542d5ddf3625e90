"""Hints: complete, well formed, one at a time; held against the list of all tests."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from judge import arch, desk, hints, image, record
from judge.errors import UsageError
from judge.stages import STAGES, TREE
from judge.tests import TestInfo

LAB1, LAB2 = STAGES[:2]


def declared() -> dict[str, set[int]]:
    """All tests and the numbers of their stages, as `kmsgpipe-test --list` has them."""
    return {test.name: {stage.number for stage in STAGES if test.judges(stage.number)}
            for test in image.tests(arch.host())}  # fmt: skip


class Complete(unittest.TestCase):
    def setUp(self) -> None:
        self.tests = declared()

    def test_the_tests_are_found(self) -> None:
        self.assertGreater(len(self.tests), 200)
        self.assertIn("first_in_first_out_in_32_bits", self.tests)
        self.assertEqual(self.tests["plan_lab1_echo_and_cat"], {1})
        self.assertEqual(self.tests["read_when_empty_is_end_of_file"], {1, 2})
        self.assertEqual(self.tests["queue_of_one_works"], set(range(2, len(STAGES) + 1)))

    def test_every_test_of_every_stage_has_three(self) -> None:
        missing = [f"{name} {stage.name}" for name, numbers in self.tests.items()
                   for stage in STAGES
                   if stage.number in numbers and len(hints.of(name, stage.name)) != 3]  # fmt: skip
        self.assertEqual(missing, [])

    def test_no_hint_is_for_a_test_that_is_gone(self) -> None:
        self.assertEqual({name for name, _ in hints.every()} - set(self.tests), set())

    def test_none_stands_there_twice(self) -> None:
        seen: dict[str, str] = {}
        for (name, _), three in hints.every().items():
            for hint in three:
                self.assertFalse(hint in seen, f"{name} and {seen.get(hint)}: {hint}")
                seen[hint] = name

    def test_each_says_something(self) -> None:
        for (name, _), (question, idea, place) in hints.every().items():
            with self.subTest(name):
                self.assertIn("?", question, "the first is a question")
                for hint in (question, idea, place):
                    self.assertGreater(len(hint.split()), 5, hint)
                    self.assertLess(len(hint), 420, hint)

    def test_files_are_easy_to_read(self) -> None:
        for path in sorted(hints.FOLDER.glob("*.txt")):
            for line in path.read_text().splitlines():
                self.assertLessEqual(len(line), 100, f"{path.name}: {line}")
                self.assertTrue(line.isascii(), f"{path.name}: {line}")

    def test_make_targets_in_them_exist(self) -> None:
        from judge import __main__ as command_line

        known = {*command_line.VERBS, *command_line.ALONE}
        for three in hints.every().values():
            for verb in re.findall(r"\bmake (?:lab\d|capstone) (\w+)", " ".join(three)):
                self.assertIn(verb, known)


class Form(unittest.TestCase):
    GOOD = "a_test\n1. Is it?\n   More.\n2. An idea.\n3. A place.\n"

    def test_parse(self) -> None:
        wanted = {("a_test", ""): ["Is it? More.", "An idea.", "A place."]}
        self.assertEqual(hints.parse(self.GOOD), wanted)
        by_stage = hints.parse(self.GOOD.replace("a_test", "a_test lab1 capstone"))
        self.assertEqual(set(by_stage), {("a_test", "lab1"), ("a_test", "capstone")})

    def test_bad_ones(self) -> None:
        for text in ("a test\n1. x\n", self.GOOD.replace("3. ", "4. "), "a_test\n1. a\n2. b\n",
                     self.GOOD + "\n" + self.GOOD, self.GOOD.replace("   More", "More")):  # fmt: skip
            with self.subTest(text), self.assertRaises(hints.BadHints):
                hints.parse(text)


class Giving(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        env = {"KMSGPIPE_WORK": f"{scratch.name}/work", "KMSGPIPE_CACHE": f"{scratch.name}/cache",
               "TESTS": ""}  # fmt: skip
        patch = mock.patch.dict(os.environ, env)
        patch.start()
        self.addCleanup(patch.stop)
        self.names = ["module_loads_and_unloads", "first_in_first_out",
                      "first_in_first_out_in_32_bits"]  # fmt: skip
        self.tests = [TestInfo(name, ~1, 1, "lab2.md#x", f"says {name}") for name in self.names]
        with contextlib.redirect_stdout(io.StringIO()):
            desk.start(LAB2)
        self.mine = desk.own(LAB2)

    def note(self, *verdicts: str) -> None:
        results = dict(zip(self.names, verdicts))
        record.note_results(self.mine, record.digest(self.mine), results, self.names)

    def given(self) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(hints.give(LAB2, self.tests), 0)
        self.assertLessEqual(max(map(len, out.getvalue().splitlines())), 80)
        return " ".join(out.getvalue().split())

    def test_one_at_a_time_and_remembered(self) -> None:
        self.note("passed", "failed", "failed")
        three = hints.of(self.names[1], LAB2.name)
        for count in (1, 2, 3, 3):
            text = self.given()
            self.assertEqual([hint in text for hint in three],
                             [level < count for level in range(3)])  # fmt: skip
        self.assertIn("make lab2 solution", text)
        self.assertEqual(record.entry(self.mine).hints, {self.names[1]: 3})

    def test_the_twin_has_the_same_hints(self) -> None:
        self.note("passed", "failed", "failed")
        self.given()
        self.note("passed", "passed", "failed")
        text = self.given()
        self.assertIn(hints.of(self.names[1], "lab2")[1], text)
        self.assertIn("_in_32_bits", text)

    def test_a_test_of_ones_choice(self) -> None:
        self.note("passed", "failed", "failed")
        with mock.patch.dict(os.environ, TESTS=self.names[0]):
            self.assertIn(hints.of(self.names[0], "lab2")[0], self.given())
        for wrong, said in (("nonsense", "no test"), ("a b", "one test at a time")):
            with mock.patch.dict(os.environ, TESTS=wrong), \
                 self.assertRaisesRegex(UsageError, said):  # fmt: skip
                hints.give(LAB2, self.tests)

    def test_nothing_to_help_with(self) -> None:
        with self.assertRaisesRegex(UsageError, "First make lab2 test"):
            hints.give(LAB2, self.tests)
        with self.assertRaisesRegex(UsageError, "make lab1 start"):
            hints.give(LAB1, self.tests)
        self.note("passed", "passed", "passed")
        self.assertIn("no test fails", self.given())
        record.note_not_compiled(self.mine, record.digest(self.mine))
        with self.assertRaisesRegex(UsageError, "does not compile"):
            hints.give(LAB2, self.tests)

    def test_it_says_when_the_source_has_changed(self) -> None:
        self.note("passed", "failed")
        self.mine.path.write_text("/* another */")
        self.assertIn("your source has changed since", self.given())


class Reference(unittest.TestCase):
    def test_none_is_a_solution(self) -> None:
        """No hint quotes a line of the reference that is longer than a name."""
        lines = set()
        for stage in STAGES:
            for line in Path(TREE / stage.source).read_text().splitlines():
                if len(line.strip()) > 25 and line.strip().endswith((";", "{")):
                    lines.add(line.strip())
        for (name, _), three in hints.every().items():
            for hint in three:
                self.assertFalse([line for line in lines if line in hint], name)


if __name__ == "__main__":
    unittest.main()
