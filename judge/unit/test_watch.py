"""make lab3 watch, without a VM: which saves count, and what is on the screen."""

from __future__ import annotations

import io
import os
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from judge import watch
from judge.build import BuildFailed
from judge.stages import STAGES

STAGE = STAGES[0]


class Source(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.stage = replace(STAGE, tree=Path(scratch.name))
        self.stage.path.parent.mkdir()
        self.stage.path.write_text("one")
        self.saves = watch.Saves(self.stage)
        self.addCleanup(self.saves.close)

    def test_a_new_content_counts_once(self) -> None:
        self.assertFalse(self.saves.changed())
        self.stage.path.write_text("two")
        self.assertTrue(self.saves.changed())
        self.assertFalse(self.saves.changed())

    def test_the_same_content_is_no_save(self) -> None:
        self.stage.path.write_text("one")
        self.assertFalse(self.saves.changed())

    def test_an_editor_that_renames(self) -> None:
        self.stage.path.unlink()
        self.assertFalse(self.saves.changed(), "away for a moment")
        other = self.stage.path.with_suffix(".new")
        other.write_text("two")
        os.rename(other, self.stage.path)
        self.assertTrue(self.saves.changed())

    def test_a_save_ends_the_wait(self) -> None:
        if self.saves._fd < 0:
            self.skipTest("no inotify here")
        self.stage.path.write_text("two")
        with mock.patch("time.sleep", side_effect=AssertionError("it polls")):
            self.saves.wait(600)  # inotify ends it, or this test never does

    def test_without_inotify_it_looks(self) -> None:
        with mock.patch("ctypes.CDLL", side_effect=OSError):
            saves = watch.Saves(self.stage)
        with mock.patch("time.sleep") as sleep:
            saves.wait()
        sleep.assert_called_once()

    def test_ctrl_c_is_the_end(self) -> None:
        shown = []

        def once(tell, changed):
            tell("testing: 1 of 2")
            shown.append("tested")
            return ["2 of 2 behaviours hold"]

        out = io.StringIO()
        with mock.patch("sys.stdout", out), \
             mock.patch.object(watch.Saves, "wait", side_effect=KeyboardInterrupt):  # fmt: skip
            self.assertEqual(watch.run(self.stage, once), 0)
        self.assertEqual(shown, ["tested"])
        self.assertIn("2 of 2 behaviours hold", out.getvalue())
        self.assertNotIn("\033", out.getvalue(), "no terminal, no escapes")


class OnATerminal(unittest.TestCase):
    def setUp(self) -> None:
        self.out = io.StringIO()
        self.out.isatty = lambda: True
        size = os.terminal_size((40, 6))
        for patch in (mock.patch("sys.stdout", self.out), mock.patch.dict(os.environ, TERM="x"),
                      mock.patch("shutil.get_terminal_size", return_value=size)):  # fmt: skip
            patch.start()
            self.addCleanup(patch.stop)

    def test_it_is_given_back(self) -> None:
        with self.assertRaises(KeyboardInterrupt), watch.Screen("title") as screen:
            screen.tell("status")
            raise KeyboardInterrupt
        text = self.out.getvalue()
        self.assertTrue(text.startswith("\033[?1049h\033[?25l"))
        self.assertTrue(text.endswith("\033[?25h\033[?1049l"))

    def test_one_screen(self) -> None:
        with watch.Screen("title") as screen:
            screen.status = "status"
            self.out.truncate(0)
            screen.show(["x" * 100] + [f"row {number}" for number in range(20)])
        rows = self.out.getvalue().split("\n")
        self.assertEqual(len(rows), 6)
        self.assertLessEqual(len(rows[3].replace("\033[K", "")), 40)
        self.assertTrue(rows[-1].startswith("..."))

    def test_the_status_leaves_the_verdict(self) -> None:
        with watch.Screen("title") as screen:
            screen.show(["the last verdict"])
            self.out.truncate(0)
            screen.tell("testing")
            self.assertNotIn("\033[J", self.out.getvalue())
            self.assertNotIn("\033[2J", self.out.getvalue())


class Once(unittest.TestCase):
    def test_what_does_not_compile_is_the_verdict(self) -> None:
        def build():
            raise BuildFailed("x.c:1: error: no\nx.c:2: error: nor this")

        def judge(get, on_verdict):
            self.assertIsNone(get())
            return [], None

        once = watch.tester(judge, build, 5, lambda verdicts, built: [])
        self.assertEqual(once(lambda text: None, lambda: False)[2:],
                         ["x.c:1: error: no", "x.c:2: error: nor this"])  # fmt: skip

    def test_a_save_ends_the_test(self) -> None:
        def judge(get, on_verdict):
            built = get()
            on_verdict(mock.Mock(passed=True), built)
            raise AssertionError("it goes on with what nobody wants")

        once = watch.tester(judge, lambda: "built", 2, lambda verdicts, built: [])
        with self.assertRaises(watch.Stale):
            once(lambda text: None, lambda: True)

    def test_progress_and_verdict(self) -> None:
        told = []

        def judge(get, on_verdict):
            built = get()
            verdicts = [mock.Mock(passed=True), mock.Mock(passed=False)]
            for verdict in verdicts:
                on_verdict(verdict, built)
            return verdicts, built

        once = watch.tester(judge, lambda: "built", 2, lambda verdicts, built: ["first: x"])
        lines = once(told.append, lambda: False)
        self.assertRegex(lines[0], r"^1 of 2 behaviours hold")
        self.assertEqual(lines[1:], ["first: x"])
        self.assertEqual(told, ["compiling ...", "testing: 1 of 2", "testing: 2 of 2"])


if __name__ == "__main__":
    unittest.main()
