"""The table of stages, and the grammar of the command line."""

from __future__ import annotations

import io
import re
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from judge import __main__ as command_line
from judge.errors import CannotTest, UsageError
from judge.stages import BY_NAME, STAGES, TREE


class Stages(unittest.TestCase):
    def test_files_are_there(self) -> None:
        for stage in STAGES:
            self.assertTrue((TREE / stage.source).is_file(), stage.source)
            makefile = (TREE / stage.folder / "Makefile").read_text()
            self.assertIn(f"obj-m := {stage.module}.o", makefile)

    def test_numbers_and_names(self) -> None:
        self.assertEqual([stage.number for stage in STAGES], list(range(1, len(STAGES) + 1)))
        for field in ("name", "folder", "module", "title"):
            self.assertEqual(len({getattr(stage, field) for stage in STAGES}), len(STAGES), field)

    def test_before(self) -> None:
        self.assertIsNone(STAGES[0].before)
        for earlier, later in zip(STAGES, STAGES[1:]):
            self.assertEqual(later.before, earlier)


class Grammar(unittest.TestCase):
    def setUp(self) -> None:
        self.done: list = []

        def verb(name: str, status: int = 0):
            return name, lambda stages, chosen: self.done.append(
                (name, [stage.name for stage in stages], chosen)) or status

        verbs = {"build": verb("build"), "test": verb("test", 1), "check": verb("check")}
        alone = {"doctor": ("x", lambda: self.done.append("doctor") or 4)}
        for patch in (
            mock.patch.object(command_line, "VERBS", verbs),
            mock.patch.object(command_line, "ALONE", alone),
            mock.patch.dict("os.environ", KMSGPIPE_WORK="/nobody/has/this"),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.all = [stage.name for stage in STAGES]

    def test_stages_and_verbs(self) -> None:
        for words, done, status in (
            (["lab3", "test"], [("test", ["lab3"], True)], 1),
            (["test", "lab3"], [("test", ["lab3"], True)], 1),
            (["lab2", "lab1", "lab2", "check"], [("check", ["lab1", "lab2"], True)], 0),
            (["check"], [("check", self.all, False)], 0),
            (["lab1"], [("build", ["lab1"], True)], 0),
            (["lab1", "test", "check"], [("test", ["lab1"], True), ("check", ["lab1"], True)], 1),
            (["doctor"], ["doctor"], 4),
        ):  # fmt: skip
            with self.subTest(words):
                self.done.clear()
                self.assertEqual(command_line.run(words), status)
                self.assertEqual(self.done, done)

    def test_alone_means_alone(self) -> None:
        for words in (["lab1", "doctor"], ["doctor", "test"], ["doctor", "doctor"]):
            with self.subTest(words), self.assertRaisesRegex(UsageError, "stands alone"):
                command_line.run(words)
        self.assertEqual(self.done, [])

    def test_unknown_word(self) -> None:
        for word, near in (("lab9", "lab"), ("tset", "test"), ("xyzzy", "")):
            with self.subTest(word), self.assertRaises(UsageError) as caught:
                command_line.run(["lab1", "test", word])
            text = str(caught.exception)
            self.assertNotIn("\n", text)
            for known in [word, *BY_NAME, "test", "doctor"]:
                self.assertIn(known, text)
            self.assertEqual(bool(near), f"Did you mean {near}" in text)
        self.assertEqual(self.done, [], "nothing is done before all words are understood")

    def test_no_words(self) -> None:
        with redirect_stdout(io.StringIO()) as out:
            self.assertEqual(command_line.run([]), 0)
        for word in [*BY_NAME, "test", "doctor", "KERNEL="]:
            self.assertTrue(re.search(rf"^  {word}", out.getvalue(), re.M), word)

    def test_trouble_is_told_apart(self) -> None:
        for error, status, said in ((CannotTest("no QEMU"), 3, "could not test: no QEMU"),
                                    (UsageError("no"), 2, "kmsgpipe: no"),
                                    (KeyboardInterrupt(), 130, "interrupted")):  # fmt: skip
            with mock.patch.object(command_line, "run", side_effect=error), \
                 mock.patch("signal.signal"), mock.patch("sys.stdout", mock.Mock()), \
                 redirect_stderr(io.StringIO()) as err:
                self.assertEqual(command_line.main(), status)
            self.assertIn(said, err.getvalue())
            self.assertEqual(err.getvalue().strip().count("\n"), 0)


if __name__ == "__main__":
    unittest.main()
