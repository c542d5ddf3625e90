"""32-bit programs for a 64-bit kernel: can they be compiled here, can the kernel run them?

A driver is called by both kinds of programs, so some tests are run as both. Those of
32 bits need a C library that few machines have. gcc is asked first; then Debian's
packages are unpacked into the cache, where gcc finds them by options: nothing is
installed. Where neither helps, these tests are left out, and that is said.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path

from . import arch, cache, debian
from .errors import CannotTest
from .kernel import Kernel

PROBE = "#include <stdio.h>\nint main(void) { return puts(__FILE__) < 0; }\n"
# A failure costs seconds, for lists and for a network that is not there: not each time.
TRY_AGAIN_SECONDS = 3600


class Unavailable(CannotTest):
    """No 32-bit programs can be made here; the text says what would help."""


def kernel_runs_none(kernel: Kernel, machine: arch.Arch) -> str:
    """Why this kernel runs no 32-bit programs; empty if it does."""
    compat = machine.compat
    if not compat:
        return f"{machine.name} has none"
    if kernel.config.get(compat.option) != "y":
        return f"the kernel {kernel.label} has no {compat.option}"
    if kernel.config.get(compat.off_option) == "y":
        return f"the kernel {kernel.label} has {compat.off_option}"
    return ""


def flags(machine: arch.Arch) -> list[str]:
    """What makes gcc compile and link static 32-bit programs, or Unavailable."""
    if not machine.compat:
        raise Unavailable(f"{machine.name} has no 32-bit programs")
    found = known(machine)
    if found is not None:
        return found
    _fetch(machine, machine.compat)
    found = known(machine)
    if found is None:
        raise Unavailable(_remedy(machine.compat, "gcc cannot link 32-bit programs"))
    return found


def known(machine: arch.Arch) -> list[str] | None:
    """The same without fetching anything; None if it takes that."""
    compat = machine.compat
    if not compat:
        return None
    tree = _tree(machine)
    paths = [tree / folder.format(gcc=_gcc()) for folder in compat.libraries]
    # Behind the usual headers: these are the few that belong to 32 bits only.
    headers = [f"-idirafter{tree / compat.headers}", f"-idirafter/{compat.headers}"]
    for more in [], [*headers, *(f"-B{path}/" for path in paths)]:
        if (not more or tree.is_dir()) and _links((*compat.flags, *more)):
            return [*compat.flags, *more]
    return None


def packages(compat: arch.Compat) -> list[str]:
    return [name.format(gcc=_gcc()) for name in compat.packages]


@lru_cache(maxsize=None)
def _gcc() -> str:
    """gcc's major version, which names its libraries."""
    try:
        done = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip().partition(".")[0]


def _links(options: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(PROBE)
        command = ["gcc", "-static", *options, "-o", f"{folder}/probe", str(source)]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except FileNotFoundError:
            return False


def _fetch(machine: arch.Arch, compat: arch.Compat) -> None:
    if not debian.available():
        raise Unavailable(_remedy(compat, "gcc cannot link 32-bit programs"))
    failed = last_failure(machine)
    if failed:
        raise Unavailable(failed)
    try:
        debian.unpack(packages(compat), _tree(machine).name)
    except CannotTest as error:
        # Without the advice that follows: ours is another.
        why = _remedy(compat, str(error).partition(". ")[0])
        cache.write_atomic(_note(machine), why)
        raise Unavailable(why) from None
    cache.remove(_note(machine))


def last_failure(machine: arch.Arch) -> str:
    """Why the packages could not be had a short while ago; empty if nobody has tried."""
    try:
        note = _note(machine)
        fresh = 0 <= time.time() - note.stat().st_mtime < TRY_AGAIN_SECONDS
        return note.read_text() if fresh else ""
    except FileNotFoundError:
        return ""


def _note(machine: arch.Arch) -> Path:
    return cache.root() / f"no-{_tree(machine).name}"


def _tree(machine: arch.Arch) -> Path:
    return cache.root() / f"guest-lib32-gcc{_gcc()}-{machine.debian}"


def _remedy(compat: arch.Compat, why: str) -> str:
    if debian.available():
        return f"{why}; install {' and '.join(packages(compat))}"
    return f"{why}; install your distribution's 32-bit C library, the static one"
