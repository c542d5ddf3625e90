"""Trees that a user names, and which image belongs to one."""

from __future__ import annotations

import gzip
import os
import unittest
from unittest import mock

from judge import bzimage, kernel

from .trees import ELF, ON, RELEASE, Scratch, make_bzimage


class Trees(Scratch):
    def test_built_tree(self) -> None:
        self.built_tree()
        found = kernel.find(str(self.tree))
        self.assertEqual(
            (found.release, found.kdir, found.image), (RELEASE, self.tree, self.tree / "vmlinux")
        )
        os.environ["KDIR"] = str(self.tree)
        self.assertEqual(kernel.find(None), found)
        self.assertEqual(kernel.known("stock"), found)

    def test_what_is_missing_is_said(self) -> None:
        steps = (
            ("Makefile", "not a kernel tree"),
            (".config", "has no .config"),
            ("include/config/auto.conf", "not prepared"),
            ("scripts/mod/modpost", "not prepared"),
            ("Module.symvers", "no Module.symvers"),
            ("vmlinux", "no built kernel image"),
        )
        self.refused("no such directory")
        for name, words in steps:
            with self.subTest(name):
                self.built_tree()
                (self.tree / name).unlink()
                if name == ".config":
                    (self.tree / "include/config/auto.conf").unlink()
                self.refused(words)

    def test_image_of_another_release(self) -> None:
        self.built_tree()
        os.environ["KIMAGE"] = str(self.put("other", make_bzimage(b"", "6.6.2")))
        self.refused(f"is Linux 6.6.2, but .* is for {RELEASE}")
        os.environ["KIMAGE"] = str(self.put("other", bytes(9999)))
        self.refused("not a kernel image")
        os.environ["KIMAGE"] = "/no/such/file"
        self.refused("no such file")

    def test_image_older_than_its_tree(self) -> None:
        self.built_tree()
        self.put("vmlinux", ELF.replace(b"6.6.1-lab", b"6.6.0-lab"))
        self.refused("run `make` there again")

    def test_types_only_vmlinux_of_headers_is_no_image(self) -> None:
        self.built_tree()
        self.put("vmlinux", ELF[:0x900] + bytes(0x1000))
        self.refused("no built kernel image")

    def test_bzimage_is_decompressed_once(self) -> None:
        self.built_tree()
        image = self.put("bz", make_bzimage(gzip.compress(ELF)))
        os.environ["KIMAGE"] = str(image)
        found = kernel.find(str(self.tree)).image
        self.assertEqual(found.read_bytes(), ELF)
        with mock.patch.object(bzimage, "decompress", side_effect=AssertionError):
            self.assertEqual(kernel.find(str(self.tree)).image, found)

    def test_bzimage_that_we_cannot_open_boots_itself(self) -> None:
        self.built_tree()
        image = self.put("bz", make_bzimage(b"\x02!L\x18 lz4"))
        os.environ["KIMAGE"] = str(image)
        self.assertEqual(kernel.find(str(self.tree)).image, image)

    def test_without_pvh_the_bzimage_is_booted(self) -> None:
        self.built_tree(CONFIG_PVH="")
        self.refused("CONFIG_PVH")
        image = self.put(ON.images[1], make_bzimage(b""))
        self.assertEqual(kernel.find(str(self.tree)).image, image)


if __name__ == "__main__":
    unittest.main()
