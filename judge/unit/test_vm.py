"""vm.py: files out of a guest, piece by piece."""

from __future__ import annotations

import unittest

from judge import vm


class Guest(vm.Vm):
    """Answers as PID 1 does, without a machine."""

    def __init__(self, content: bytes, piece: int):
        self.content, self.piece = content, piece

    def ask(self, *words: str, seconds: float = 10) -> str:
        assert words[:2] == ("get", "/file")
        start = int(words[2])
        return f"@got {self.content[start : start + self.piece].hex()}"


class Get(unittest.TestCase):
    def test_all_pieces_in_their_order(self) -> None:
        content = bytes(range(256)) * 5
        for piece in (1, 7, 1024, 1280, 4096):
            self.assertEqual(Guest(content, piece).get("/file"), content)

    def test_an_empty_file(self) -> None:
        self.assertEqual(Guest(b"", 1024).get("/file"), b"")

    def test_a_file_without_end(self) -> None:
        with self.assertRaises(vm.VmGone):
            Guest(b"x" * 5000, 10).get("/file", 100)


if __name__ == "__main__":
    unittest.main()
