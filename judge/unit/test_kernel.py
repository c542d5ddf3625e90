"""Trees, images and the choice of packages, on made-up ones."""

import gzip
import lzma
import os
import struct
import tempfile
import unittest
from pathlib import Path
from typing import Dict, Optional
from unittest import mock

from judge import arch, debian, kernel, tools
from judge.errors import CannotTest, UsageError

ON = arch.ARCHS[0]
RELEASE = "6.6.1-lab"
ELF = (b"\x7fELF\x02\x01\x01" + bytes(9)
       + struct.pack("<HH", 2, ON.elf_machine) + bytes(0x1000)
       + b"Linux version %s (" + f"Linux version {RELEASE} (me)".encode())


def bzimage(payload: bytes, release: str = RELEASE) -> bytes:
    head = bytearray(0x1000)
    head[0x1f1] = 3                               # setup sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20e, 0x400)    # version string, from 0x200
    text = f"{release} (me@here) #1".encode()
    head[0x600:0x600 + len(text)] = text
    struct.pack_into("<II", head, 0x248, 0x1000 - 4 * 512, len(payload))
    return bytes(head) + payload + b"behind it"


class Scratch(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.tree = Path(scratch.name) / "linux"
        for patch in (
                mock.patch.dict(os.environ, {
                    "KMSGPIPE_CACHE": str(Path(scratch.name) / "cache")}),
                mock.patch.object(arch, "host", return_value=ON)):
            patch.start()
            self.addCleanup(patch.stop)
        for variable in ("KDIR", "KIMAGE", "KERNEL_UPDATE"):
            os.environ.pop(variable, None)

    def put(self, name: str, data: bytes) -> Path:
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def built_tree(self, **options: str) -> None:
        config = {option: "y" for option, _ in kernel.OPTIONS + ON.options}
        config.update({"CONFIG_PVH": "y", "CONFIG_MODVERSIONS": "y"}, **options)
        text = "# comment\n" + "".join(
            f"{k}={v}\n" if v else f"# {k} is not set\n"
            for k, v in config.items())
        for name, content in (
                ("Makefile", "all:\n"), (".config", text),
                ("include/config/auto.conf", text),
                ("include/generated/autoconf.h", ""),
                ("include/generated/utsrelease.h",
                 f'#define UTS_RELEASE "{RELEASE}"\n'),
                ("scripts/mod/modpost", ""), ("Module.symvers", "")):
            self.put(name, content.encode())
        self.put("vmlinux", ELF)

    def refused(self, words: str, spec: Optional[str] = None,
                error: type = CannotTest) -> None:
        with self.assertRaisesRegex(error, words) as caught:
            kernel.find(spec or str(self.tree))
        self.assertNotIn("\n", str(caught.exception))


class Trees(Scratch):
    def test_built_tree(self) -> None:
        self.built_tree()
        found = kernel.find(str(self.tree))
        self.assertEqual((found.release, found.kdir, found.image),
                         (RELEASE, self.tree, self.tree / "vmlinux"))
        os.environ["KDIR"] = str(self.tree)
        self.assertEqual(kernel.find(None), found)
        self.assertEqual(kernel.known("stock"), found)

    def test_what_is_missing_is_said(self) -> None:
        steps = (("Makefile", "not a kernel tree"),
                 (".config", "has no .config"),
                 ("include/config/auto.conf", "not prepared"),
                 ("scripts/mod/modpost", "not prepared"),
                 ("Module.symvers", "no Module.symvers"),
                 ("vmlinux", "no built kernel image"))
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
        os.environ["KIMAGE"] = str(self.put("other", bzimage(b"", "6.6.2")))
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
        image = self.put("bz", bzimage(gzip.compress(ELF)))
        os.environ["KIMAGE"] = str(image)
        found = kernel.find(str(self.tree)).image
        self.assertEqual(found.read_bytes(), ELF)
        with mock.patch.object(kernel, "decompress", side_effect=AssertionError):
            self.assertEqual(kernel.find(str(self.tree)).image, found)

    def test_bzimage_that_we_cannot_open_boots_itself(self) -> None:
        self.built_tree()
        image = self.put("bz", bzimage(b"\x02!L\x18 lz4"))
        os.environ["KIMAGE"] = str(image)
        self.assertEqual(kernel.find(str(self.tree)).image, image)

    def test_without_pvh_the_bzimage_is_booted(self) -> None:
        self.built_tree(CONFIG_PVH="")
        self.refused("CONFIG_PVH")
        image = self.put(ON.images[1], bzimage(b""))
        self.assertEqual(kernel.find(str(self.tree)).image, image)

    def test_options(self) -> None:
        self.built_tree(CONFIG_MODULE_UNLOAD="", CONFIG_SERIAL_8250="m")
        self.refused(r"lacks, built in: CONFIG_MODULE_UNLOAD \(rmmod\), "
                     r"CONFIG_SERIAL_8250 \(the serial ports\)")

    def test_contradictions(self) -> None:
        self.refused("say stock", "stokc", UsageError)
        os.environ["KIMAGE"] = "/x"
        self.refused("KIMAGE= needs KDIR=", "stock", UsageError)
        os.environ["KDIR"] = "/x"
        self.refused("give one", "6.1", UsageError)


class Images(Scratch):
    def test_decompress(self) -> None:
        for name, data in (("xz", lzma.compress(ELF) + b"size"),
                           ("gzip", gzip.compress(ELF))):
            with self.subTest(name):
                image = self.put(name, bzimage(data))
                self.assertEqual(kernel.decompress(image), ELF)

    def test_damaged(self) -> None:
        good = lzma.compress(ELF)
        for name, data in (("cut", good[:40] + b"\xff" * 40),
                           ("not a kernel", lzma.compress(b"hello" * 99))):
            with self.subTest(name), self.assertRaises(CannotTest):
                kernel.decompress(self.put("image", bzimage(data)))

    def test_release(self) -> None:
        for data, release in ((ELF, RELEASE), (bzimage(b""), RELEASE),
                              (bytes(0x2000), None), (b"", None)):
            self.assertEqual(kernel.image_release(self.put("i", data)), release)


class Headers(unittest.TestCase):
    def test_relocate(self) -> None:
        line = "include /usr/src/linux-headers-6.1.0-56-common/Makefile\n"
        here, moved = kernel.relocate(line).splitlines()
        self.assertEqual(moved, "include $(here)../../src/linux-headers-"
                                "6.1.0-56-common/Makefile")
        self.assertIn("MAKEFILE_LIST", here)
        again = kernel.relocate(line)
        self.assertEqual(kernel.relocate("all:\n"), "all:\n")
        self.assertNotIn(" /usr", again)

    def test_compiler(self) -> None:
        for text, command in (
                ("override ARCH = x86\nCC = $(if $(USE_CCACHE),$(CCACHE)) "
                 "$(CROSS_COMPILE)gcc-12\nX = y\n", "gcc-12"),
                ("CC = $(CROSS_COMPILE)gcc-14\n", "gcc-14"),
                ("CC = clang\n", None), ("", None)):
            self.assertEqual(kernel.compiler_of(text), command)


def package(name: str, *depends: str, version: str = "1-1") -> debian.Package:
    return debian.Package(name, version, 1, 1, depends, "kernel")


class Choosing(unittest.TestCase):
    """Debian 12's names, Debian 13's, and an archive half way through a push."""

    def choose(self, series: Optional[str], *offered: debian.Package):
        archive: Dict[str, debian.Package] = {p.name: p for p in offered}
        with mock.patch.object(debian, "show", lambda names: [
                archive[n] for n in names if n in archive]), \
             mock.patch.object(debian, "renew", return_value=False), \
             mock.patch.object(debian, "_run", return_value=debian.Run(
                 0, "\n".join(archive), "")), \
             mock.patch.object(arch, "host", return_value=ON):
            choice = kernel.choose(series)
        return [choice.image.name, *(p.name for p in choice.headers)]

    BOOKWORM = (
        package("linux-image-amd64", "linux-image-6.1.0-56-amd64"),
        package("linux-image-6.1.0-56-amd64", "kmod", version="6.1.192-2"),
        package("linux-image-6.1.0-9-amd64", "kmod", version="6.1.27-1"),
        package("linux-image-6.1.0-57-rt-amd64", "kmod", version="6.1.199-2"),
        package("linux-headers-6.1.0-9-amd64", version="6.1.27-1"),
        package("linux-headers-6.1.0-56-amd64", "linux-headers-6.1.0-56-common",
                "linux-kbuild-6.1", "linux-compiler-gcc-12-x86"),
        package("linux-headers-6.1.0-56-common"),
        package("linux-kbuild-6.1", "libelf1"),
    )
    TRIXIE = (
        package("linux-image-amd64", "linux-image-6.12.9+deb13-amd64"),
        package("linux-image-6.12.9+deb13-amd64", "kmod"),
        package("linux-headers-6.12.9+deb13-amd64", "linux-base",
                "linux-headers-6.12.9+deb13-common",
                "linux-image-6.12.9+deb13-amd64",
                "linux-kbuild-6.12.9+deb13", "gcc-14"),
        package("linux-headers-6.12.9+deb13-common"),
        package("linux-kbuild-6.12.9+deb13", "libelf1t64", "pahole"),
    )

    def test_stock(self) -> None:
        self.assertEqual(self.choose(None, *self.BOOKWORM), [
            "linux-image-6.1.0-56-amd64", "linux-headers-6.1.0-56-amd64",
            "linux-headers-6.1.0-56-common", "linux-kbuild-6.1"])
        self.assertEqual(self.choose(None, *self.TRIXIE), [
            "linux-image-6.12.9+deb13-amd64",
            "linux-headers-6.12.9+deb13-amd64",
            "linux-headers-6.12.9+deb13-common",
            "linux-kbuild-6.12.9+deb13"])

    def test_series(self) -> None:
        both = self.BOOKWORM + self.TRIXIE[1:]
        self.assertEqual(self.choose("6.1", *both)[0],
                         "linux-image-6.1.0-56-amd64")
        self.assertEqual(self.choose("6.12", *both)[0],
                         "linux-image-6.12.9+deb13-amd64")
        with self.assertRaisesRegex(CannotTest, "apt offers no kernel 6.6"):
            self.choose("6.6", *both)

    def test_newest_with_headers(self) -> None:
        without = [p for p in self.BOOKWORM if p.name != "linux-kbuild-6.1"]
        self.assertEqual(self.choose("6.1", *without)[0],
                         "linux-image-6.1.0-9-amd64")


class Stock(Scratch):
    def test_remembered_kernel_needs_no_apt(self) -> None:
        root = Path(os.environ["KMSGPIPE_CACHE"])
        self.tree = root / "kernel-x/usr/src/linux-headers-x"
        self.built_tree()
        self.put(".kernelvariables", b"CC = gcc-99\n")
        image = root / "kernel-x/boot/vmlinux"
        image.parent.mkdir()
        image.write_bytes(ELF)
        (root / "kernel-stock.json").write_text(
            '{"tree": "kernel-x", "label": "Debian 1"}')
        with mock.patch("subprocess.Popen", side_effect=AssertionError), \
                mock.patch.object(tools, "need") as need:
            found = kernel.find("stock")
        self.assertEqual(found.label, f"Debian 1 ({RELEASE})")
        self.assertEqual(need.call_args.args[0][0].name, "gcc-99")
        image.write_bytes(b"")                    # a power cut
        self.assertIsNone(kernel.known("stock"))

    def test_no_debian(self) -> None:
        with mock.patch.object(debian, "available", return_value=False):
            self.refused("KDIR=", "stock")


if __name__ == "__main__":
    unittest.main()
