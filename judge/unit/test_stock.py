"""The distribution's kernel: the choice of packages, and how it is remembered."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from unittest import mock

from judge import arch, debian, kernel, stock, tools
from judge.errors import CannotTest

from .trees import ELF, ON, RELEASE, Scratch


class Headers(unittest.TestCase):
    def test_relocate(self) -> None:
        line = "include /usr/src/linux-headers-6.1.0-56-common/Makefile\n"
        here, moved = stock.relocate(line).splitlines()
        self.assertEqual(
            moved, "include $(here)../../src/linux-headers-" "6.1.0-56-common/Makefile"
        )
        self.assertIn("MAKEFILE_LIST", here)
        again = stock.relocate(line)
        self.assertEqual(stock.relocate("all:\n"), "all:\n")
        self.assertNotIn(" /usr", again)


def package(name: str, *depends: str, version: str = "1-1") -> debian.Package:
    return debian.Package(name, version, 1, 1, depends, "kernel")


class Choosing(unittest.TestCase):
    """Debian 12's names, Debian 13's, and an archive half way through a push."""

    def choose(self, series: str | None, *offered: debian.Package):
        archive: dict[str, debian.Package] = {p.name: p for p in offered}
        with mock.patch.object(
            debian, "show", lambda names: [archive[n] for n in names if n in archive]
        ), mock.patch.object(debian, "renew", return_value=False), mock.patch.object(
            debian, "_run", return_value=debian.Run(0, "\n".join(archive), "")
        ), mock.patch.object(
            arch, "host", return_value=ON
        ):
            choice = stock.choose(series)
        return [choice.image.name, *(p.name for p in choice.headers)]

    BOOKWORM = (
        package("linux-image-amd64", "linux-image-6.1.0-56-amd64"),
        package("linux-image-6.1.0-56-amd64", "kmod", version="6.1.192-2"),
        package("linux-image-6.1.0-9-amd64", "kmod", version="6.1.27-1"),
        package("linux-image-6.1.0-57-rt-amd64", "kmod", version="6.1.199-2"),
        package("linux-headers-6.1.0-9-amd64", version="6.1.27-1"),
        package(
            "linux-headers-6.1.0-56-amd64",
            "linux-headers-6.1.0-56-common",
            "linux-kbuild-6.1",
            "linux-compiler-gcc-12-x86",
        ),
        package("linux-headers-6.1.0-56-common"),
        package("linux-kbuild-6.1", "libelf1"),
    )
    TRIXIE = (
        package("linux-image-amd64", "linux-image-6.12.9+deb13-amd64"),
        package("linux-image-6.12.9+deb13-amd64", "kmod"),
        package(
            "linux-headers-6.12.9+deb13-amd64",
            "linux-base",
            "linux-headers-6.12.9+deb13-common",
            "linux-image-6.12.9+deb13-amd64",
            "linux-kbuild-6.12.9+deb13",
            "gcc-14",
        ),
        package("linux-headers-6.12.9+deb13-common"),
        package("linux-kbuild-6.12.9+deb13", "libelf1t64", "pahole"),
    )

    def test_stock(self) -> None:
        self.assertEqual(
            self.choose(None, *self.BOOKWORM),
            [
                "linux-image-6.1.0-56-amd64",
                "linux-headers-6.1.0-56-amd64",
                "linux-headers-6.1.0-56-common",
                "linux-kbuild-6.1",
            ],
        )
        self.assertEqual(
            self.choose(None, *self.TRIXIE),
            [
                "linux-image-6.12.9+deb13-amd64",
                "linux-headers-6.12.9+deb13-amd64",
                "linux-headers-6.12.9+deb13-common",
                "linux-kbuild-6.12.9+deb13",
            ],
        )

    def test_series(self) -> None:
        both = self.BOOKWORM + self.TRIXIE[1:]
        self.assertEqual(self.choose("6.1", *both)[0], "linux-image-6.1.0-56-amd64")
        self.assertEqual(self.choose("6.12", *both)[0], "linux-image-6.12.9+deb13-amd64")
        with self.assertRaisesRegex(CannotTest, "apt offers no kernel 6.6"):
            self.choose("6.6", *both)

    def test_real_time(self) -> None:
        realtime = tuple(
            package(one.name.replace("-amd64", "-rt-amd64"),
                    *(name.replace("-amd64", "-rt-amd64") for name in one.depends))
            for one in self.BOOKWORM
        )  # fmt: skip
        both = (*self.BOOKWORM, *realtime)
        self.assertEqual(self.choose("6.1-rt", *both)[0], "linux-image-6.1.0-56-rt-amd64")
        self.assertEqual(self.choose("6.1", *both)[0], "linux-image-6.1.0-56-amd64")
        with self.assertRaisesRegex(CannotTest, "apt offers no kernel 6.12-rt"):
            self.choose("6.12-rt", *both)

    def test_newest_with_headers(self) -> None:
        without = [p for p in self.BOOKWORM if p.name != "linux-kbuild-6.1"]
        self.assertEqual(self.choose("6.1", *without)[0], "linux-image-6.1.0-9-amd64")


class Stock(Scratch):
    def test_remembered_kernel_needs_no_apt(self) -> None:
        root = Path(os.environ["KMSGPIPE_CACHE"])
        self.tree = root / "kernel-x/usr/src/linux-headers-x"
        self.built_tree()
        self.put(".kernelvariables", b"CC = gcc-99\n")
        image = root / "kernel-x/boot/vmlinux"
        image.parent.mkdir()
        image.write_bytes(ELF)
        (root / "kernel-stock.json").write_text('{"tree": "kernel-x", "label": "Debian 1"}')
        with mock.patch("subprocess.Popen", side_effect=AssertionError), mock.patch.object(
            tools, "need"
        ) as need:
            found = kernel.find("stock")
        self.assertEqual(found.label, f"Debian 1 ({RELEASE})")
        self.assertEqual(need.call_args.args[0][0].name, "gcc-99")
        image.write_bytes(b"")  # a power cut
        self.assertIsNone(kernel.known("stock"))

    def test_no_debian(self) -> None:
        with mock.patch.object(debian, "available", return_value=False):
            self.refused("KDIR=", "stock")


if __name__ == "__main__":
    unittest.main()
