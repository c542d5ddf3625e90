"""Kernel trees and images made up for the unit tests, in a cache of their own."""

from __future__ import annotations

import os
import struct
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from judge import arch, kernel
from judge.errors import CannotTest

ON = arch.ARCHS[0]
RELEASE = "6.6.1-lab"
ELF = (
    b"\x7fELF\x02\x01\x01"
    + bytes(9)
    + struct.pack("<HH", 2, ON.elf_machine)
    + bytes(0x1000)
    + b"Linux version %s ("
    + f"Linux version {RELEASE} (me)".encode()
)


def make_bzimage(payload: bytes, release: str = RELEASE) -> bytes:
    head = bytearray(0x1000)
    head[0x1F1] = 3  # setup sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x400)  # version string, from 0x200
    text = f"{release} (me@here) #1".encode()
    head[0x600 : 0x600 + len(text)] = text
    struct.pack_into("<II", head, 0x248, 0x1000 - 4 * 512, len(payload))
    return bytes(head) + payload + b"behind it"


class Scratch(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.tree = Path(scratch.name) / "linux"
        for patch in (
            mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": str(Path(scratch.name) / "cache")}),
            mock.patch.object(arch, "host", return_value=ON),
        ):
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
            f"{k}={v}\n" if v else f"# {k} is not set\n" for k, v in config.items()
        )
        for name, content in (
            ("Makefile", "all:\n"),
            (".config", text),
            ("include/config/auto.conf", text),
            ("include/generated/autoconf.h", ""),
            ("include/generated/utsrelease.h", f'#define UTS_RELEASE "{RELEASE}"\n'),
            ("scripts/mod/modpost", ""),
            ("Module.symvers", ""),
        ):
            self.put(name, content.encode())
        self.put("vmlinux", ELF)

    def refused(self, words: str, spec: str | None = None, error: type = CannotTest) -> None:
        with self.assertRaisesRegex(error, words) as caught:
            kernel.find(spec or str(self.tree))
        self.assertNotIn("\n", str(caught.exception))
