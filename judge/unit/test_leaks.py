"""Lost memory: what the test program says of it, and whose it is."""

from __future__ import annotations

import unittest

from judge import klog, leaks

LINES = (
    "# leak reading_frees_the_message",
    "# | unreferenced object 0xffff888004a3c0c0 (size 64):",
    '# |   comm "kmsgpipe-test", pid 99, jiffies 4294912345 (age 12.345s)',
    "# |   backtrace:",
    "# |     [<00000000b2e4a5c1>] __kmalloc+0x4b/0x150",
    "# |     [<000000005d0f3c11>] kmsgpipe_write+0x9c/0x1b0 [kmsgpipe_buffered]",
    "# |     [<000000005d0f3c12>] 0xffffffffc0201370",
)
MODULE = "kmsgpipe_buffered"


class Lines(unittest.TestCase):
    def collected(self, *lines: str) -> dict[str, list[str]]:
        collector = leaks.Leaks()
        for line in lines:
            self.assertTrue(collector.take(line))
        return dict(collector.by_test())

    def test_by_test(self) -> None:
        found = self.collected(*LINES, "# leak other", "# | x", *LINES)
        self.assertEqual(list(found), ["reading_frees_the_message", "other"])
        reports = klog.reports(found["reading_frees_the_message"], MODULE)
        self.assertEqual(reports[0].kind.name, "leak")
        self.assertEqual(reports[0].places, {"kmalloc": ("kmsgpipe_write", 0x9B)})
        self.assertIn("never got into it", reports[0].cause)

    def test_other_lines(self) -> None:
        for line in ("# | text without a test", "# ms: 12", "ok 1 leak", "# leaks 12.0"):
            self.assertFalse(leaks.Leaks().take(line))

    def test_looking(self) -> None:
        self.assertEqual(leaks.LOOKING.match("# leaks 25.0")[1], "25.0")

    def test_sections(self) -> None:
        self.assertEqual(leaks.sections("# text .text=0xffffffffc0201000 .exit.text=0x12"),
                         {".text": 0xFFFFFFFFC0201000, ".exit.text": 0x12})  # fmt: skip
        self.assertEqual(leaks.sections("# text"), {})
        self.assertIsNone(leaks.sections("# textual"))

    def test_of_a_module_that_is_gone(self) -> None:
        lines = [line[4:] for line in (*LINES[1:4], LINES[6])]
        section = klog.Section(".text", 0xFFFFFFFFC0201000, 0x400)
        for sections, places in (
            ([section], {"kmalloc": (".text", 0x36F)}),
            ([klog.Section(".text", 0xFFFFFFFFC0201000, 0x370)], {}),
            ([], {}),
        ):
            self.assertEqual(klog.reports(lines, MODULE, sections)[0].places, places)


if __name__ == "__main__":
    unittest.main()
