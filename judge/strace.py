"""strace in the VM of `make lab3 shell`, with the libraries that it needs.

Debian has no static one, so it comes as the packages have it: into the cache once, and from
there into each VM that somebody plays in. The VMs of tests do without.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from . import arch, cache, debian
from .errors import CannotTest
from .vm import Vm

PROGRAM = "usr/bin/strace"
# Where a package may have put a library, and where the loader looks without being told.
LIBRARIES = ("lib/*/{name}", "usr/lib/*/{name}", "lib/{name}", "usr/lib/{name}")
LOADER = ("{path}", "usr/{path}", "usr/lib/*/{name}", "lib/*/{name}")
NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
INTERPRETER = re.compile(r"program interpreter: /(.+)\]")


def _place() -> str:
    return f"guest-strace-{arch.host().debian}"


def packages() -> list[str]:
    """strace and all that it depends on, by the lists of apt."""
    found, unknown = debian.closure(["strace"])
    if "strace" in unknown:
        raise CannotTest("apt's lists have no package strace")
    return sorted(package.name for package in found)


def tree() -> Path:
    """The unpacked packages, fetched if they are not there."""
    place = cache.root() / _place()
    return place if place.is_dir() else debian.unpack(packages(), _place())


def _find(root: Path, patterns: tuple[str, ...], path: str) -> Path:
    name = Path(path).name
    for pattern in patterns:
        for found in sorted(root.glob(pattern.format(name=name, path=path))):
            # Not resolve(): an absolute link would lead out of the packages.
            if found.is_file():
                return found
    raise CannotTest(f"strace needs {name}, and its packages have none")


def _readelf(file: Path) -> str:
    return subprocess.run(["readelf", "--wide", "--program-headers", "--dynamic", file],
                          capture_output=True, text=True, check=True,
                          env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout  # fmt: skip


def files(root: Path) -> dict[str, Path]:
    """What has to be in the VM: its path there, without the first slash, and the file."""
    found = {PROGRAM.removeprefix("usr/"): root / PROGRAM}
    todo = [root / PROGRAM]
    while todo:
        headers = _readelf(todo.pop())
        wanted = {f"lib/{name}": _find(root, LIBRARIES, name) for name in NEEDED.findall(headers)}
        wanted.update((path, _find(root, LOADER, path)) for path in INTERPRETER.findall(headers))
        todo += [file for path, file in wanted.items() if path not in found]
        found.update(wanted)
    return found


def bring(vm: Vm) -> str:
    """Puts it into the VM; returns why not, if it cannot be had, else an empty text."""
    try:
        if not debian.available():
            return "no strace in the VM: it comes from Debian's packages"
        here = files(tree())
    except CannotTest as error:
        return f"no strace in the VM: {error}"
    for path, file in here.items():
        vm.put(f"/{path}", file.read_bytes(), 0o755)
    return ""
