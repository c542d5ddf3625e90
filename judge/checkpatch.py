"""The kernel's style checker, checkpatch.pl: Debian has it in the kernel's source only."""

from __future__ import annotations

import os
from pathlib import Path

from . import cache, debian
from .errors import CannotTest
from .kernelsource import newest_package, pick

FILES = ("scripts/checkpatch.pl", "scripts/spelling.txt", "scripts/const_structs.checkpatch")


def find() -> Path:
    """checkpatch.pl, with its lists beside it, fetched if it has to be."""
    if not debian.available() and not known():
        own = Path(os.environ.get("KDIR", "")) / FILES[0]
        if os.environ.get("KDIR") and own.is_file():
            return own.resolve()
        raise CannotTest(
            "missing: the kernel's checkpatch.pl; set KDIR= to a kernel source tree, which has it"
        )
    return cache.build_once("checkpatch", _fetch) / FILES[0]


def known() -> bool:
    """Is it in the cache?"""
    return (cache.root() / "checkpatch").is_dir()


def _fetch(into: Path) -> None:
    def fetch() -> Path:
        package = newest_package()
        print(f"checkpatch.pl comes in {package.name}, of which nothing else is kept", flush=True)
        return debian.fetch(package.name, into)

    deb = debian.with_fresh_lists(fetch)
    print("searching it for checkpatch.pl (half a minute)", flush=True)
    pick(deb, FILES, into)
    deb.unlink()
    if not (into / FILES[0]).is_file():
        raise CannotTest(f"{deb.name} has no {FILES[0]}")
