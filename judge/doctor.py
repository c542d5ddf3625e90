"""`make doctor`: each thing that is needed, found or not, and the remedy.

Looks only: it installs nothing, fetches nothing and boots nothing.
"""

import os
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, TextIO

from . import arch, cache, debian, kernel, tools, width
from .errors import CannotTest

WIDTH = 79
GOOD, LATER, OPTIONAL, BAD = "ok", "later", "absent", "MISSING"
FIRST_SET_UP = 500 * cache.MB         # download, unpacking, and some air


@dataclass(frozen=True)
class Finding:
    state: str                        # one of the four words above
    what: str
    detail: str
    remedy: str = ""


def report(stream: TextIO) -> int:
    """Print it all; 0 if `make test` has what it needs or can get it."""
    findings: List[Finding] = []
    for look in (_machine, _tools, _cache, _kernel, _guest, _width, _checkpatch,
                 _accelerator):
        try:
            rows = list(look())
        except CannotTest as e:
            rows = [Finding(BAD, look.__name__.strip("_"), str(e))]
        for row in rows:
            _write(stream, row)
        findings += rows
    bad = [row for row in findings if row.state == BAD]
    if not bad:
        stream.write("\nEverything that `make test` needs is here"
                     + (" or gets here by itself.\n"
                        if any(r.state == LATER for r in findings) else ".\n"))
        return 0
    packages = sorted({tool.package for tool in tools.missing("test")})
    stream.write("\nNot everything that `make test` needs is here.\n")
    if packages and shutil.which("apt-get"):
        stream.write("`make test` installs it if it may (root, or sudo); "
                     "or type:\n    " + tools.command(packages) + "\n")
    return CannotTest.status


def _write(stream: TextIO, row: Finding) -> None:
    head = f"{row.state:<8}{row.what:<20}"
    text = row.detail + (f"; {row.remedy}" if row.remedy else "")
    stream.write(textwrap.fill(text, WIDTH, initial_indent=head,
                               subsequent_indent=" " * 28,
                               break_long_words=False,
                               break_on_hyphens=False) + "\n")
    stream.flush()                    # what comes next may take a while


def _machine() -> Iterator[Finding]:
    on = arch.host()
    yield Finding(GOOD, "machine", f"{on.name}, {_distribution()}, "
                  f"{len(os.sched_getaffinity(0))} processors")


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
        elif tool.when == "check":
            yield Finding(OPTIONAL, tool.name, f"{tool.why}, for `make check`",
                          f"package {tool.package}")
        else:
            yield Finding(BAD, tool.name, tool.why, f"package {tool.package}")


def _cache() -> Iterator[Finding]:
    root = cache.root()
    free = shutil.disk_usage(root).free
    detail = (f"{root} ({debian.megabytes(_size(root))}, "
              f"{free / 1000 / cache.MB:.1f} GB free)")
    set_up = any(root.glob("kernel-*.json"))
    if free < (FIRST_SET_UP // 10 if set_up else FIRST_SET_UP):
        yield Finding(BAD, "disk space", detail, "make room, or set "
                      "KMSGPIPE_CACHE to a directory on another disk")
    else:
        yield Finding(GOOD, "cache", detail)


def _size(root: Path) -> int:
    """Like du: the headers are thousands of small files."""
    total = 0
    for folder, _, files in os.walk(root):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:           # another make is at work
                pass
    return total


def _kernel() -> Iterator[Finding]:
    spec: Optional[str] = os.environ.get("KERNEL")
    found = kernel.known(spec)
    if found:
        kernel.check_options(found)
        yield Finding(GOOD, "kernel", found.label)
        yield Finding(GOOD, "kernel headers", _short(found.kdir))
        named = kernel.compiler_for(found)
        if named and not named.found():
            yield Finding(BAD, named.name, named.why,
                          f"package {named.package}")
        return
    if debian.available():
        yield Finding(LATER, "kernel, headers", "fetched by the first `make "
                      "test` (some 90 to 130 MB; no root needed)")
    else:
        yield Finding(BAD, "kernel, headers", "no Debian, so no stock kernel",
                      "set KDIR= to a prepared or built kernel tree and "
                      "KIMAGE= to its bzImage or vmlinux")


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
            yield Finding(LATER, f"{name} for the VM", "fetched by the first "
                          "`make test` (1 MB; no root needed)")
        else:
            yield Finding(BAD, f"{name} for the VM", "no static build of it "
                          "on PATH", f"install {name}-static or similar")


def _width() -> Iterator[Finding]:
    on = arch.host()
    if not shutil.which("gcc"):
        return                        # told above
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
        yield Finding(LATER, what, f"{' and '.join(width.packages(on.compat))}, "
                      "fetched by the first `make test` (4 MB; no root needed)")
    elif on.compat:
        yield Finding(OPTIONAL, what, "gcc cannot link them; " + left_out,
                      "install the distribution's static 32-bit C library")


def _checkpatch() -> Iterator[Finding]:
    if (cache.root() / "checkpatch").is_dir():
        yield Finding(GOOD, "checkpatch.pl", _short(kernel.checkpatch()))
    else:
        yield Finding(LATER, "checkpatch.pl", "fetched by the first `make "
                      "check` (some 150 MB, of which 0.3 MB is kept)")


ACCELERATORS = {"kvm": (GOOD, "KVM"), "tcg": (GOOD, "emulation")}


def _accelerator() -> Iterator[Finding]:
    try:
        from . import accel
    except ImportError:
        return
    used, why = accel.known()
    state, what = ACCELERATORS.get(used, (LATER, "KVM"))
    yield Finding(state, what, why)
