"""Debian packages without root and without installing them.

apt does the finding, downloading and verifying (signatures and checksums
included), dpkg-deb the unpacking; both work for any user as long as nothing
is installed.  The system's package lists are used when they know the
package; when they are empty or out of date, lists of our own are made in the
cache from the system's sources.

Everything here is slow (a second per apt call): callers keep what they got
in the cache, and come here only when it is not there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence, TypeVar

from . import cache, progress
from .errors import CannotTest

T = TypeVar("T")

# apt's words for "these lists are older than the archive".
OUT_OF_DATE = (
    "404  Not Found",
    "Hash Sum mismatch",
    "File has unexpected size",
    "Unable to locate package",
    "Can't find a source to download",
    "Can't select candidate version",
    "No packages found",
)
DISK_FULL = ("No space left on device", "enough free space", "Disk quota exceeded")

# Lists of our own.  Hooks of the system's configuration would run with every
# update (and want root), and its extra indexes (graphical package managers',
# apt-file's) are larger than all that is wanted here.
PRIVATE_CONF = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::State "{apt}/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "{apt}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
"""
EXTRA_INDEXES = (
    "deb::DEP-11",
    "deb::DEP-11-icons",
    "deb::DEP-11-icons-small",
    "deb::DEP-11-icons-hidpi",
    "deb::DEP-11-icons-large",
    "deb::DEP-11-icons-large-hidpi",
    "deb::CNF",
    "deb::Contents-deb",
    "deb::Contents-udeb",
    "deb-src::Sources",
    "deb-src::Contents-dsc",
)
QUICK_TO_FAIL = (
    "-o",
    "Acquire::Retries=1",
    "-o",
    "Acquire::http::Timeout=20",
    "-o",
    "Acquire::https::Timeout=20",
)

_private: tuple[str, ...] = ()  # apt options that choose our own lists


class OutOfDate(CannotTest):
    """The lists name a package that the archive has no more, or not yet."""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    size: int  # bytes to download
    installed: int  # bytes unpacked
    depends: tuple[str, ...]  # first alternatives, without versions
    section: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def available() -> bool:
    return all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb"))


# Finding


def show(names: Sequence[str]) -> list[Package]:
    """What apt would take for these names, from the lists in use."""
    if not names:
        return []
    run = _run(["apt-cache", *_private, "show", "--no-all-versions", *names])
    return parse(run.stdout)


def parse(text: str) -> list[Package]:
    """Packages out of apt-cache's paragraphs."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        field: dict[str, str] = dict(
            re.findall(r"^([A-Za-z0-9-]+): *(.*(?:\n .*)*)", paragraph, re.M)
        )
        if "Filename" not in field:  # installed, but nowhere to fetch it
            continue
        found.append(
            Package(
                field["Package"],
                field["Version"],
                int(field.get("Size", 0)),
                int(field.get("Installed-Size", 0)) * 1024,
                depends(field.get("Depends", "")),
                field.get("Section", ""),
            )
        )
    return found


def depends(field: str) -> tuple[str, ...]:
    """'a (= 1) | b, c:any' -> ('a', 'c')"""
    names = (re.match(r"[a-z0-9][a-z0-9+.-]*", word.strip()) for word in field.split(","))
    return tuple(name.group() for name in names if name)


def closure(
    names: Sequence[str], follow: Callable[[str], bool] = lambda name: True
) -> tuple[list[Package], set[str]]:
    """These packages and all that they depend on, of what @follow takes; and unknown names."""
    known: dict[str, Package] = {}
    unknown: set[str] = set()
    asked = set(names)
    while asked:
        found = {package.name: package for package in show(sorted(asked))}
        known.update(found)
        unknown |= asked - found.keys()
        more = {name for package in found.values() for name in package.depends if follow(name)}
        asked = more - known.keys() - unknown
    return list(known.values()), unknown


def candidates(name_or_regex: str) -> list[Package]:
    """Packages of that name, or that the regex matches whole; newest first.

    The lists are renewed if they know none.
    """

    def look() -> list[Package]:
        if re.fullmatch(r"[a-z0-9+.-]+", name_or_regex):
            return show([name_or_regex])
        known = _run(["apt-cache", *_private, "pkgnames"]).stdout.split()
        return show([n for n in known if re.fullmatch(name_or_regex, n)])

    found = look()
    if not found and renew():
        found = look()
    return sorted(found, key=lambda p: version_key(p.version), reverse=True)


def version_key(version: str) -> tuple[list[int], str]:
    """Sorts 6.12.9 before 6.12.117, which as text it does not."""
    upstream = version.partition("~")[0]
    return [int(n) for n in re.findall(r"\d+", upstream)], version


def renew() -> bool:
    """Make lists of our own, fresh ones; False if they already are."""
    global _private
    if _private:
        return False
    apt = cache.root() / "apt"
    print("updating our own package lists (the system's are left alone)", flush=True)
    with cache.lock("apt"):
        for directory in ("state/lists/partial", "cache/archives/partial"):
            (apt / directory).mkdir(parents=True, exist_ok=True)
        conf = PRIVATE_CONF.format(apt=apt) + "".join(
            f'Acquire::IndexTargets::{index}::DefaultEnabled "false";\n' for index in EXTRA_INDEXES
        )
        cache.write_atomic(apt / "apt.conf", conf)
        options = ("-c", str(apt / "apt.conf"))
        run = _run(
            ["apt-get", *options, *QUICK_TO_FAIL, "update"],
            watch=apt / "state/lists",
            label="package lists",
        )
    _complain(run, "the package lists", fatal=False)
    if not any((apt / "state/lists").glob("*Packages*")):
        raise _offline("the package lists", run)
    _private = options
    return True


def with_fresh_lists(action: Callable[[], T]) -> T:
    """action(), once more with fresh lists if the lists were its trouble."""
    try:
        return action()
    except OutOfDate:
        if not renew():
            raise
        return action()


# Fetching


def fetch(package: str, into: Path | None = None) -> Path:
    """The package's .deb, verified by apt."""
    return fetch_all([package], into)[0]


def fetch_all(packages: Sequence[str], into: Path | None = None) -> list[Path]:
    """The .deb of each package; the default place for them is the cache."""
    into = into or cache.root() / "debs"
    into.mkdir(parents=True, exist_ok=True)
    known = {p.name: p for p in show(packages)}
    unknown = [name for name in packages if name not in known]
    if unknown:
        raise OutOfDate(f"apt does not offer {' '.join(unknown)}")
    size = sum(p.size for p in known.values())
    cache.check_space(size)
    print(f"fetching {', '.join(packages)} ({progress.megabytes(size)})", flush=True)
    with tempfile.TemporaryDirectory(prefix=".fetch.", dir=into) as temp:
        run = _run(
            ["apt-get", *_private, *QUICK_TO_FAIL, "download", *packages],
            cwd=temp,
            watch=Path(temp),
            size=size,
            label="fetched",
        )
        _complain(run, _some(packages))
        debs = []
        for name in packages:
            (deb,) = Path(temp).glob(f"{glob_escape(name)}_*.deb")
            debs.append(deb.replace(into / deb.name))
    return debs


def _some(packages: Sequence[str]) -> str:
    rest = len(packages) - 1
    return packages[0] + (f" and {rest} more" if rest else "")


def glob_escape(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


# Unpacking


def extract(deb: Path, into: Path, only: Sequence[str] = ()) -> None:
    """Unpack a .deb's files; `only` names the folders wanted ("./boot")."""
    if not only:
        _unpacker(["dpkg-deb", "-x", str(deb), str(into)], deb)
        return
    # A kernel image package is 400 MB of drivers around 8 MB of kernel.
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE
    ) as unpack:
        _unpacker(
            ["tar", "-x", "-C", str(into), "--no-same-owner", "-f", "-", *only],
            deb,
            stdin=unpack.stdout,
        )


def _unpacker(command: list[str], deb: Path, stdin: object = None) -> None:
    run = subprocess.run(
        command,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if run.returncode == 0:
        return
    if any(word in run.stderr for word in DISK_FULL):
        raise OSError(errno.ENOSPC, "disk full")
    last = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise CannotTest(f"cannot unpack {deb.name}: {last}")


def unpack(packages: Sequence[str], key: str) -> Path:
    """The packages' files in root()/key, fetched if they are not there."""

    def make(into: Path) -> None:
        # In there, so that an interrupted download is swept with the rest.
        debs = into / "debs"
        for deb in with_fresh_lists(lambda: fetch_all(packages, debs)):
            extract(deb, into)
        cache.remove(debs)

    return cache.build_once(key, make)


# Running apt


@dataclass(frozen=True)
class Run:
    status: int
    stdout: str
    stderr: str


def _run(
    command: Sequence[str],
    cwd: str | None = None,
    watch: Path | None = None,
    size: int = 0,
    label: str = "",
) -> Run:
    """A command of apt's, quietly; `watch` is the directory that it fills."""
    if not shutil.which(command[0]):
        raise CannotTest(
            f"this needs {command[0]}, which this distribution "
            "does not have; use KDIR= and KIMAGE="
        )
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile(
        "w+", errors="replace"
    ) as err:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
        try:
            while watch and sys.stdout.isatty() and process.poll() is None:
                time.sleep(0.2)
                progress.show(
                    f"  {label}: {progress.megabytes(_filled(watch))}"
                    + (f" of {progress.megabytes(size)}" if size else "")
                )
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            progress.show("")
        out.seek(0)
        err.seek(0)
        return Run(process.returncode, out.read(), err.read())


def _complain(run: Run, what: str, fatal: bool = True) -> None:
    """Turn apt's many lines into the one that matters."""
    if run.status == 0:
        return
    if any(word in run.stderr for word in DISK_FULL):
        raise cache.disk_full()
    if not fatal:
        return
    if any(word in run.stderr for word in OUT_OF_DATE):
        raise OutOfDate(f"cannot fetch {what}: {_reason(run)}")
    raise _offline(what, run)


def _offline(what: str, run: Run) -> CannotTest:
    return CannotTest(
        f"cannot fetch {what}: {_reason(run)}. Connect to the "
        f"network once; after that {cache.root()} has "
        "everything and nothing is fetched any more"
    )


def _reason(run: Run) -> str:
    """apt's first complaint, without its address and its jargon."""
    lines = re.findall(r"^[EW]: *(.*)", run.stderr, re.M)
    network = [
        m.group()
        for m in (
            re.search(
                r"Temporary failure resolving '[^']*'|Could not (?:connect|resolve)[^(]*"
                r"|Connection (?:failed|timed out)[^(]*|Unable to connect[^(]*",
                line,
            )
            for line in lines
        )
        if m
    ]
    reason = (network or lines or ["apt gave no reason"])[0]
    return reason.strip().rstrip(".")


# Telling


def _filled(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # renamed under our eyes
            total += path.stat().st_size
    return total
