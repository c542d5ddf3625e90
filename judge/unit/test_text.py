"""What a guest prints cannot move the cursor of who reads it."""

import unittest

from judge.text import printable


class Printable(unittest.TestCase):
    def test_ordinary_text_stays(self) -> None:
        self.assertEqual(printable("a\tb\nä €\r\n".encode()), "a\tb\nä €\n")

    def test_escapes_become_visible(self) -> None:
        self.assertEqual(printable(b"\x1b[1Aok\x07\r"), "\\x1b[1Aok\\x07\\x0d")
        self.assertEqual(printable(b"\xc2\x9b2J\x0b"), "\\x9b2J\\x0b")

    def test_broken_utf8_is_no_error(self) -> None:
        self.assertEqual(printable(b"a\xffb"), "a\ufffdb")


if __name__ == "__main__":
    unittest.main()
