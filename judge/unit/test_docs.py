"""docs.py: a page's transcript is replayed, and the machine's troubles are not the page's."""

import unittest
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

from judge import docs
from judge.session import Done
from judge.transcript import blocks
from judge.vm import VmGone

PAGE = "```console vm=lab1\n$ echo hello\nhello\n$ true\n```\n"


class InVm(unittest.TestCase):
    """What comes of PAGE: each item of set_ups and steps is raised if it is an exception."""

    def replay(self, set_ups, steps):
        (block,) = blocks(Path("page.md"), PAGE)
        replay = docs._Replay(mock.Mock(), mock.Mock())
        replay.built["lab1"] = mock.Mock()
        with ExitStack() as stack:
            for name in ("bring", "load"):
                stack.enter_context(mock.patch.object(docs.lab, name))
            stack.enter_context(
                mock.patch.object(docs.lab, "trouble", lambda vm, stage, gone=None: str(gone or ""))
            )
            stack.enter_context(mock.patch.object(docs, "Resuming"))
            self.sessions = stack.enter_context(
                mock.patch.object(docs, "Session", side_effect=set_ups)
            )
            stack.enter_context(mock.patch.object(docs, "step", side_effect=steps))
            return replay.run(block)

    def test_shows_what_the_vm_printed(self):
        ran = self.replay([mock.Mock()], [Done("hello\n", 0), Done("", 0)])
        self.assertEqual([step.shown for step in ran], [["hello"], []])

    def test_a_vm_silent_before_the_first_line_is_replaced(self):
        ran = self.replay([VmGone("no answer"), mock.Mock()], [Done("hello\n", 0), Done("", 0)])
        self.assertEqual([step.shown for step in ran], [["hello"], []])
        self.assertEqual(self.sessions.call_count, 2)

    def test_and_only_once(self):
        failed = self.replay([VmGone("no answer"), VmGone("no answer")], [])
        self.assertIsInstance(failed, docs.BlockFailed)
        self.assertEqual(str(failed), "set-up: no answer")

    def test_one_that_goes_silent_later_fails_the_block(self):
        failed = self.replay([mock.Mock()], [Done("hello\n", 0), VmGone("no prompt")])
        self.assertIsInstance(failed, docs.BlockFailed)
        self.assertEqual(str(failed), "true: no prompt")
        self.assertEqual(self.sessions.call_count, 1)


if __name__ == "__main__":
    unittest.main()
