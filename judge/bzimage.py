"""Kernel images: which kernel one is, and the ELF kernel inside a compressed one.

Emulated, a kernel's own decompressor takes longer than all the rest of its boot.
"""

from __future__ import annotations

import mmap
import re
import struct
import subprocess
from pathlib import Path
from typing import Callable

from . import arch, tools
from .errors import CannotTest


class UnknownCompression(CannotTest):
    """Compressed in a way that cannot be undone here."""


def _xz(data: bytes) -> bytes:
    import lzma  # here: no warm run should pay for it

    return lzma.LZMADecompressor().decompress(data)


def _gzip(data: bytes) -> bytes:
    import zlib

    return zlib.decompressobj(31).decompress(data)


def _bzip2(data: bytes) -> bytes:
    import bz2

    return bz2.BZ2Decompressor().decompress(data)


def _zstd(data: bytes) -> bytes:
    # The kernel's build puts the size behind it, which zstd complains about.
    run = subprocess.run([tools.zstd(), "-dcq"], input=data[:-4], capture_output=True)
    if run.returncode:
        said = run.stderr.decode(errors="replace").strip()
        raise UnknownCompression(f"zstd cannot decompress this kernel: {said}")
    return run.stdout


COMPRESSIONS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\xfd7zXZ\0", _xz),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x1f\x8b\x08", _gzip),
    (b"BZh", _bzip2),
    (b"\x5d\0\0", _xz),  # the older .lzma
)


def decompress(image: Path) -> bytes:
    """The ELF kernel in a bzImage."""
    payload = _payload(image.read_bytes())
    undo = next((undo for magic, undo in COMPRESSIONS if payload.startswith(magic)), None)
    if not undo:
        raise UnknownCompression(
            f"{image} is compressed in a way that I do not know ({payload[:4].hex()})"
        )
    try:
        kernel = undo(payload)
    except (CannotTest, MemoryError):
        raise
    except Exception as error:  # LZMAError, zlib.error, OSError: no common base
        raise CannotTest(f"{image} is damaged: {error}") from error
    on = arch.host()
    if kernel[:4] != b"\x7fELF" or struct.unpack_from("<H", kernel, 18)[0] != on.elf_machine:
        raise CannotTest(f"{image} does not contain a kernel for {on.name}")
    return kernel


def _payload(data: bytes) -> bytes:
    """The compressed part, by the boot protocol's header (2.08, 2008)."""
    if data[0x202:0x206] != b"HdrS":
        raise CannotTest("this is not a Linux bzImage")
    sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (sectors + 1) * 512 + offset
    return data[start : start + length]


def release(image: Path) -> str | None:
    """`uname -r` of a vmlinux or bzImage; None if it is neither."""
    if image.stat().st_size < 0x1000:
        return None
    with image.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[0x202:0x206] == b"HdrS":
            at = struct.unpack_from("<H", data, 0x20E)[0] + 0x200
            text = data[at : at + 200].split(b"\0")[0]
            return text.split(b" ")[0].decode(errors="replace")
        if data[:4] == b"\x7fELF":
            banner = re.search(rb"Linux version (\d[^ \0]*) \(", data)
            return banner.group(1).decode() if banner else None
    return None
