"""The kernel's source: which one SOURCE= names, and what of it is unpacked."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import unittest
from pathlib import Path
from unittest import mock

from judge import cache, download, kernelsource
from judge.errors import CannotTest, UsageError

from .trees import ON, Scratch

MAKEFILE = "# SPDX\nVERSION = 6\nPATCHLEVEL = 6\nSUBLEVEL = {}\nEXTRAVERSION =\nNAME = Pinguïn\n"
FILES = {
    "Makefile": MAKEFILE.format(93),
    "init/main.c": "int main;",
    "drivers/gpu/drm/Kconfig": "config DRM",
    "drivers/gpu/drm/drm_drv.c": "int drm;",
    "drivers/net/loopback.c": "int lo;",
    f"arch/{ON.source}/Kconfig": "config X86",
    f"arch/{ON.source}/kernel/setup.c": "int setup;",
    "arch/alpha/Kconfig": "config ALPHA",
    "arch/alpha/kernel/setup.c": "int setup;",
    "arch/Kconfig": "config HAVE",
}


def tarball(version: int = 93, mode: str = "w:xz", top: str = "linux-6.6.93/") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as tar:
        for name, text in {**FILES, "Makefile": MAKEFILE.format(version)}.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(text.encode())
            member.mode = 0o664
            tar.addfile(member, io.BytesIO(text.encode()))
        link = tarfile.TarInfo(top + "scripts/dtc/include")
        link.type, link.linkname = tarfile.SYMTYPE, "../../include"
        tar.addfile(link)
    return data.getvalue()


def sums(*versions: str) -> str:
    lines = [f"{number:064x}  linux-{version}.tar.xz" for number, version in enumerate(versions)]
    return "\n".join(["-----BEGIN PGP SIGNED MESSAGE-----", *lines, "ff  patch-6.6.99.xz"])


class Choosing(unittest.TestCase):
    def test_newest_of_the_series(self) -> None:
        text = sums("6.6", "6.6.9", "6.6.93", "6.6.100", "6.60.1", "6.7.1", "5.6.6")
        self.assertEqual(kernelsource.newest_of(text, "6.6"), ("6.6.100", f"{3:064x}"))

    def test_no_such_series(self) -> None:
        with self.assertRaisesRegex(CannotTest, "no Linux 6.6"):
            kernelsource.newest_of("<html>captive portal</html>", "6.6")

    def test_wanted(self) -> None:
        kept = [name for name in FILES if kernelsource.wanted(name)]
        self.assertEqual(
            sorted(set(FILES) - set(kept)),
            ["arch/alpha/kernel/setup.c", "drivers/gpu/drm/drm_drv.c"],
        )


class Sources(Scratch):
    def get(self, spec: str = "") -> kernelsource.Source:
        with mock.patch("builtins.print"):
            return kernelsource.get(spec)

    def unpacked(self, tree: Path) -> dict[str, str]:
        return {
            str(path.relative_to(tree)): path.read_text()
            for path in sorted(tree.rglob("*"))
            if path.is_file()
        }

    def test_tarball(self) -> None:
        for mode, name in (("w:xz", "a.tar.xz"), ("w:gz", "b.tgz")):
            with self.subTest(name):
                source = self.get(str(self.put(name, tarball(mode=mode))))
                self.assertEqual(source.version, "6.6.93")
                want = {name: text for name, text in FILES.items() if kernelsource.wanted(name)}
                self.assertEqual(self.unpacked(source.tree), want)
                self.assertTrue((source.tree / "scripts/dtc/include").is_symlink())

    def test_debians_tarball_starts_with_a_dot(self) -> None:
        source = self.get(str(self.put("d.tar.xz", tarball(top="./linux-source-6.6/"))))
        self.assertEqual(source.version, "6.6.93")

    def test_no_kernel_or_damaged(self) -> None:
        whole = tarball()
        for name, data, words in (
            ("cut.tar.xz", whole[: len(whole) // 2], "cannot read cut.tar.xz"),
            ("end.tar.xz", whole[:-40], "cannot read end.tar.xz"),
            ("cut.tar.gz", tarball(mode="w:gz")[:-200], "cannot read cut.tar.gz"),
            ("text.tar.xz", b"hello" * 99, "cannot read text.tar.xz"),
            ("odd.tar.zst", whole, "give a .tar.xz"),
            ("empty.tar.xz", lzma.compress(bytes(10240)), "no kernel tree"),
        ):
            with self.subTest(name), self.assertRaisesRegex(CannotTest, words):
                self.get(str(self.put(name, data)))
        self.assertEqual(list(cache.root().glob("linux-*")), [])
        self.assertEqual(list(cache.root().glob(".making*")), [])

    def test_outside_of_the_tree_nothing_is_written(self) -> None:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as tar:
            for name in ("linux/../../../evil", "linux/Makefile"):
                member = tarfile.TarInfo(name)
                member.size = len(MAKEFILE.format(1).encode())
                tar.addfile(member, io.BytesIO(MAKEFILE.format(1).encode()))
        self.get(str(self.put("evil.tar.gz", data.getvalue())))
        self.assertEqual(list(self.tree.parent.rglob("evil")), [])

    def test_tree(self) -> None:
        self.put("Makefile", MAKEFILE.format(7).encode())
        source = self.get(str(self.tree))
        self.assertEqual((source.tree, source.version), (self.tree, "6.6.7"))
        self.put(".config", b"")
        with self.assertRaisesRegex(CannotTest, "has been built in.*mrproper"):
            self.get(str(self.tree))
        self.put("Makefile", b"all:\n")
        with self.assertRaisesRegex(CannotTest, "is no kernel tree"):
            self.get(str(self.tree))

    def test_typing_errors(self) -> None:
        for spec, words in (("debain", "say debian"), ("/no/where", "no such file")):
            with self.assertRaisesRegex(UsageError, words):
                self.get(spec)

    def test_the_last_one_is_used_again_without_a_network(self) -> None:
        self.put("Makefile", MAKEFILE.format(7).encode())
        source = self.get(str(self.tree))
        with mock.patch.object(download, "text", side_effect=AssertionError):
            self.assertEqual(self.get(), source)
        offline = mock.patch.object(download, "text", side_effect=CannotTest("cannot fetch it"))
        with offline, mock.patch.dict(os.environ, {"KERNEL_UPDATE": "1"}):
            self.assertEqual(self.get(), source)
        self.put("Makefile", MAKEFILE.format(8).encode())  # the user has updated it
        with offline, self.assertRaisesRegex(CannotTest, "cannot fetch it. Or give a SOURCE="):
            self.get()

    def test_kernel_org(self) -> None:
        os.environ["KERNEL_MIRROR"] = "http://mirror/linux/"

        def fetch(url: str, target: Path, sha256: str) -> None:
            self.assertEqual(url, "http://mirror/linux/v6.x/linux-6.6.93.tar.xz")
            self.assertEqual(sha256, f"{1:064x}")
            target.write_bytes(tarball())

        with mock.patch.object(download, "text", return_value=sums("6.6.9", "6.6.93")), \
                mock.patch.object(download, "fetch", side_effect=fetch):  # fmt: skip
            source = self.get()
        self.assertEqual((source.version, source.origin), ("6.6.93", "kernel.org"))
        self.assertEqual(kernelsource.known(), source)
        self.assertEqual(list((cache.root() / "downloads").iterdir()), [])


if __name__ == "__main__":
    unittest.main()
