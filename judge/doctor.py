"""`make doctor`: each thing that is needed, found or not, and the remedy.

Looks only: it installs nothing, fetches nothing and boots nothing.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, TextIO

from . import accel, arch, cache, checkpatch, debian, kernel, labkernel, progress, tools, width
from .errors import CannotTest

WIDTH = 79
GOOD, LATER, OPTIONAL, BAD = "ok", "later", "absent", "MISSING"
FIRST_SET_UP = 500 * cache.MB  # download, unpacking, and some air


@dataclass(frozen=True)
class Finding:
    state: str  # one of the four words above
    what: str
    detail: str
    remedy: str = ""


def report(stream: TextIO) -> int:
    """Print it all; 0 if `make test` has what it needs or can get it."""
    findings: list[Finding] = []
    for look in LOOKS:
        try:
            rows = list(look())
        except CannotTest as error:
            rows = [Finding(BAD, look.__name__.strip("_"), str(error))]
        for row in rows:
            _write(stream, row)
        findings += rows
    bad = [row for row in findings if row.state == BAD]
    if not bad:
        stream.write(
            "\nEverything that `make test` needs is here"
            + (" or gets here by itself.\n" if any(r.state == LATER for r in findings) else ".\n")
        )
        return 0
    packages = sorted({tool.package for tool in tools.missing("test")})
    stream.write("\nNot everything that `make test` needs is here.\n")
    if packages and shutil.which("apt-get"):
        stream.write(
            "`make test` installs it if it may (root, or sudo); "
            "or type:\n    " + tools.command(packages) + "\n"
        )
    return CannotTest.status


def _write(stream: TextIO, row: Finding) -> None:
    head = f"{row.state:<8}{row.what:<20}"
    text = row.detail + (f"; {row.remedy}" if row.remedy else "")
    filled = textwrap.fill(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * 28,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    stream.write(filled + "\n")
    stream.flush()  # what comes next may take a while


def _machine() -> Iterator[Finding]:
    on = arch.host()
    processors = len(os.sched_getaffinity(0))
    yield Finding(GOOD, "machine", f"{on.name}, {_distribution()}, {processors} processors")


def _distribution() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return "unknown distribution"
    fields = dict(line.partition("=")[::2] for line in lines)
    return fields.get("PRETTY_NAME", "unknown distribution").strip('"')


def _tools() -> Iterator[Finding]:
    for tool in tools.table():
        found = tool.found()
        if found:
            yield Finding(GOOD, tool.name, found)
        elif tool.when in tools.OPTIONAL:
            why = f"{tool.why}, for `make {tools.OPTIONAL[tool.when]}`"
            yield Finding(OPTIONAL, tool.name, why, f"package {tool.package}")
        else:
            yield Finding(BAD, tool.name, tool.why, f"package {tool.package}")


def _cache() -> Iterator[Finding]:
    root = cache.root()
    free = shutil.disk_usage(root).free
    detail = f"{root} ({progress.megabytes(_size(root))}, {free / 1000 / cache.MB:.1f} GB free)"
    set_up = any(root.glob("kernel-*.json"))
    if free < (FIRST_SET_UP // 10 if set_up else FIRST_SET_UP):
        remedy = "make room, or set KMSGPIPE_CACHE to a directory on another disk"
        yield Finding(BAD, "disk space", detail, remedy)
    else:
        yield Finding(GOOD, "cache", detail)


def _size(root: Path) -> int:
    """Like du: the headers are thousands of small files."""
    total = 0
    for folder, _, files in os.walk(root):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:  # another make is at work
                pass
    return total


def _kernel() -> Iterator[Finding]:
    spec = os.environ.get("KERNEL")
    found = kernel.known(spec)
    if not found and spec in labkernel.LABS:
        yield Finding(BAD, f"KERNEL={spec}", "not built yet", f"make kernel KERNEL={spec}")
        return
    if found:
        kernel.check_options(found)
        yield Finding(GOOD, "kernel", found.label)
        yield Finding(GOOD, "kernel headers", _short(found.kdir))
        named = kernel.compiler_for(found)
        if named and not named.found():
            yield Finding(BAD, named.name, named.why, f"package {named.package}")
        return
    if debian.available():
        how = "fetched by the first `make test` (some 90 to 130 MB; no root needed)"
        yield Finding(LATER, "kernel, headers", how)
    else:
        remedy = (
            "set KDIR= to a prepared or built kernel tree and KIMAGE= to its bzImage or vmlinux"
        )
        yield Finding(BAD, "kernel, headers", "no Debian, so no stock kernel", remedy)


def _lab_kernels() -> Iterator[Finding]:
    for lab in labkernel.LABS.values():
        note, what = labkernel.built(lab.name), f"KERNEL={lab.name}"
        if labkernel.known(lab.name):
            yield Finding(GOOD, what, f"Linux {note.get('version')} from {note.get('origin')}")
        else:
            yield Finding(OPTIONAL, what, f"{lab.says}; make kernel {what}")


def _short(path: Path) -> str:
    """Of a path in the cache, the entry: the rest is long and all alike."""
    try:
        return f"in the cache, {path.relative_to(cache.root()).parts[0]}"
    except ValueError:
        return str(path)


def _guest() -> Iterator[Finding]:
    for name in tools.GUEST:
        here = tools.guest_program_known(name)
        if here:
            yield Finding(GOOD, f"{name} for the VM", _short(here))
        elif debian.available():
            how = "fetched by the first `make test` (1 MB; no root needed)"
            yield Finding(LATER, f"{name} for the VM", how)
        else:
            remedy = f"install {name}-static or similar"
            yield Finding(BAD, f"{name} for the VM", "no static build of it on PATH", remedy)


def _width() -> Iterator[Finding]:
    on = arch.host()
    if not shutil.which("gcc"):
        return  # told above
    found = kernel.known(os.environ.get("KERNEL"))
    why = width.kernel_runs_none(found, on) if found else ""
    what, left_out = "32-bit programs", "without it some tests are left out"
    if why:
        yield Finding(OPTIONAL, what, why, left_out)
    elif on.compat and width.known(on) is not None:
        yield Finding(GOOD, what, f"gcc {on.compat.flags[0]}")
    elif width.last_failure(on):
        yield Finding(OPTIONAL, what, left_out, width.last_failure(on))
    elif on.compat and debian.available():
        packages = " and ".join(width.packages(on.compat))
        how = f"{packages}, fetched by the first `make test` (4 MB; no root needed)"
        yield Finding(LATER, what, how)
    elif on.compat:
        remedy = "install the distribution's static 32-bit C library"
        yield Finding(OPTIONAL, what, f"gcc cannot link them; {left_out}", remedy)


def _checkpatch() -> Iterator[Finding]:
    if checkpatch.known():
        yield Finding(GOOD, "checkpatch.pl", _short(checkpatch.find()))
    else:
        how = "fetched by the first `make check` (some 150 MB, of which 0.3 MB is kept)"
        yield Finding(LATER, "checkpatch.pl", how)


ACCELERATORS = {"kvm": (GOOD, "KVM"), "tcg": (GOOD, "emulation")}


def _accelerator() -> Iterator[Finding]:
    used, why = accel.known()
    state, what = ACCELERATORS.get(used, (LATER, "KVM"))
    yield Finding(state, what, why)


LOOKS = (_machine, _tools, _cache, _kernel, _lab_kernels, _guest, _width, _checkpatch, _accelerator)
