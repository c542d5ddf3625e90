"""Kernel images, on made-up ones."""

from __future__ import annotations

import gzip
import lzma
import unittest

from judge import bzimage
from judge.errors import CannotTest

from .trees import ELF, RELEASE, Scratch, make_bzimage


class Images(Scratch):
    def test_decompress(self) -> None:
        for name, data in (("xz", lzma.compress(ELF) + b"size"), ("gzip", gzip.compress(ELF))):
            with self.subTest(name):
                image = self.put(name, make_bzimage(data))
                self.assertEqual(bzimage.decompress(image), ELF)

    def test_damaged(self) -> None:
        good = lzma.compress(ELF)
        for name, data in (
            ("cut", good[:40] + b"\xff" * 40),
            ("not a kernel", lzma.compress(b"hello" * 99)),
        ):
            with self.subTest(name), self.assertRaises(CannotTest):
                bzimage.decompress(self.put("image", make_bzimage(data)))

    def test_release(self) -> None:
        for data, release in (
            (ELF, RELEASE),
            (make_bzimage(b""), RELEASE),
            (bytes(0x2000), None),
            (b"", None),
        ):
            self.assertEqual(bzimage.release(self.put("i", data)), release)


if __name__ == "__main__":
    unittest.main()
