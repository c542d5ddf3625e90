"""The kernel's source: fetched from kernel.org or Debian, or given by the user.

It is unpacked into the cache, whole or not at all, and only read from then on: all lab
kernels are built out of it, each in a folder of its own.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Iterator

from . import arch, cache, debian, progress
from .errors import CannotTest, UsageError

# The kernel that the course is written for.
SERIES = "6.6"
MIRROR = "https://cdn.kernel.org/pub/linux/kernel"
SUMS = "sha256sums.asc"

# Hardware that the VM has not, and what no kernel is built from: two thirds of the tree.
LEFT_OUT = (
    "Documentation/", "drivers/gpu/", "drivers/infiniband/", "drivers/media/",
    "drivers/net/ethernet/", "drivers/net/wireless/", "drivers/scsi/", "drivers/staging/",
    "sound/", "tools/perf/", "tools/testing/",
)  # fmt: skip
# Every folder is read for these, whatever is switched off.
KEPT = re.compile(r"(Kconfig|Makefile|Kbuild)[^/]*$")
UNPACKED = 700 * cache.MB
DEBIAN = re.compile(r"debian(?:-(\d+\.\d+))?")
TARBALL = re.compile(r"\.(tar\.\w+|tgz|txz)$")
COMPRESSIONS = {"xz": lzma.open, "txz": lzma.open, "gz": gzip.open, "tgz": gzip.open}
DAMAGED = (tarfile.TarError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError)


@dataclass(frozen=True)
class Source:
    tree: Path
    version: str  # 6.6.93
    origin: str  # who it is from, in words


def get(spec: str) -> Source:
    """The source for SOURCE=spec; '' is the one used last, or else kernel.org's newest."""
    if not spec:
        before = known()
        if before and not update_wanted():
            return before
        try:
            source = _from_kernel_org()
        except CannotTest as error:
            if not before:
                raise CannotTest(
                    f"{error}. Or give a SOURCE=: a tarball, a tree, or debian"
                ) from None
            print(f"no update: {error}\nkeeping Linux {before.version}", flush=True)
            return before
    elif DEBIAN.fullmatch(spec):
        source = _from_debian(DEBIAN.fullmatch(spec)[1])
    elif Path(spec).is_dir():
        source = _from_tree(Path(os.path.abspath(spec)))
    elif Path(spec).is_file():
        source = _from_tarball(Path(os.path.abspath(spec)))
    elif "/" in spec or TARBALL.search(spec):
        raise UsageError(f"SOURCE={spec}: there is no such file or directory")
    else:
        raise UsageError(f"SOURCE={spec}: say debian, or the path of a kernel tree or tarball")
    _remember(source)
    return source


def update_wanted() -> bool:
    return os.environ.get("KERNEL_UPDATE", "") not in ("", "0")


# -- remembering it ---------------------------------------------------------------------


def _note() -> Path:
    return cache.root() / "lab-source.json"


def known() -> Source | None:
    """The source that was used last, if it is there still."""
    try:
        note = json.loads(_note().read_text())
        source = Source(Path(note["tree"]), note["version"], note["origin"])
        return source if version(source.tree) == source.version else None
    except (OSError, ValueError, KeyError, TypeError, CannotTest):
        return None


def _remember(source: Source) -> None:
    note = {"tree": str(source.tree), "version": source.version, "origin": source.origin}
    cache.write_atomic(_note(), json.dumps(note, indent=1) + "\n")


def version(tree: Path) -> str:
    """What `make kernelversion` would say, from the tree's Makefile."""
    try:
        head = (tree / "Makefile").read_text(errors="replace")[:2000]
    except OSError:
        raise CannotTest(f"{tree} is no kernel tree: it has no Makefile") from None
    field = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)", head, re.M))
    try:
        numbers = f"{field['VERSION']}.{field['PATCHLEVEL']}.{field['SUBLEVEL']}"
    except KeyError:
        raise CannotTest(f"{tree} is no kernel tree: its Makefile is no kernel's") from None
    return numbers + field.get("EXTRAVERSION", "")


# -- where it comes from ----------------------------------------------------------------


def _from_kernel_org() -> Source:
    """The newest kernel of our series."""
    # Here: to load the network takes a tenth of each start, and it is used but once.
    from . import download

    mirror = os.environ.get("KERNEL_MIRROR", "").rstrip("/") or MIRROR
    folder = f"{mirror}/v{SERIES.split('.')[0]}.x"
    print(f"looking for the newest Linux {SERIES} at {folder}", flush=True)
    # The list names every release that there is, so no second list is needed to choose one.
    newest, sha256 = newest_of(download.text(f"{folder}/{SUMS}"), SERIES)
    name = f"linux-{newest}.tar.xz"

    def make(into: Path) -> None:
        cache.check_space(UNPACKED)
        tarball = cache.root() / "downloads" / name
        tarball.parent.mkdir(exist_ok=True)
        print(f"fetching {name} (some 140 MB)", flush=True)
        download.fetch(f"{folder}/{name}", tarball, sha256)
        with tarball.open("rb") as data:
            unpack(data, name, into)
        cache.remove(tarball)

    return Source(cache.build_once(f"linux-{newest}", make), newest, "kernel.org")


def newest_of(sums: str, series: str) -> tuple[str, str]:
    """The newest version of a series in a list of checksums, and its checksum."""
    pattern = rf"^([0-9a-f]{{64}})  linux-({re.escape(series)}(?:\.\d+)?)\.tar\.xz$"
    found = {version: digest for digest, version in re.findall(pattern, sums, re.M)}
    if not found:
        raise CannotTest(f"the list of checksums has no Linux {series}")
    newest = max(found, key=lambda version: [int(number) for number in version.split(".")])
    return newest, found[newest]


def newest_package(series: str | None = None) -> debian.Package:
    """Debian's newest package of kernel source."""
    name = f"linux-source-{series}" if series else r"linux-source-\d+\.\d+"
    packages = debian.candidates(name)
    if not packages:
        raise CannotTest(f"apt offers no package {name if series else 'linux-source'}")
    return packages[0]


def _from_debian(series: str | None) -> Source:
    if not debian.available():
        raise CannotTest("SOURCE=debian: this distribution is no Debian")
    # Renews the package lists if they are older than the archive, and looks again.
    return debian.with_fresh_lists(lambda: _from_package(newest_package(series)))


def _from_package(package: debian.Package) -> Source:
    def make(into: Path) -> None:
        cache.check_space(package.size + UNPACKED)
        deb = debian.fetch(package.name, into)
        with _tarball_in(deb) as (data, name):
            unpack(data, name, into)
        deb.unlink()

    tree = cache.build_once(f"linux-{cache.digest(str(package))[:8]}-debian", make)
    return Source(tree, version(tree), f"Debian's {package}")


def _from_tarball(tarball: Path) -> Source:
    stat = tarball.stat()
    key = cache.digest(str(tarball), str(stat.st_size), str(stat.st_mtime_ns))[:8]

    def make(into: Path) -> None:
        cache.check_space(UNPACKED)
        with tarball.open("rb") as data:
            unpack(data, tarball.name, into)
        version(into)  # it is one

    tree = cache.build_once(f"linux-{key}-tarball", make)
    return Source(tree, version(tree), str(tarball))


def _from_tree(tree: Path) -> Source:
    has = version(tree)
    # kbuild's own check, which comes late and in many lines.
    if (tree / ".config").exists() or (tree / "include/config").exists():
        raise CannotTest(
            f"SOURCE={tree} has been built in, and kbuild then builds nowhere else. Use it as it "
            f"is (KERNEL={tree}), or clean it (make -C {tree} mrproper)"
        )
    return Source(tree, has, str(tree))


# -- unpacking it -----------------------------------------------------------------------


@contextmanager
def _tarball_in(deb: Path) -> Iterator[tuple[IO[bytes], str]]:
    """The tarball in Debian's package of kernel source, read as it comes."""
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet) as package:
        try:
            with tarfile.open(fileobj=package.stdout, mode="r|") as outer:
                pattern = re.compile(r"/linux-source-[^/]*\.tar\.\w+$")
                tarball = next((one for one in outer if pattern.search(one.name)), None)
                if not tarball:
                    raise CannotTest(f"cannot read {deb.name}: it has no tarball")
                yield outer.extractfile(tarball), tarball.name
        finally:
            package.kill()  # what follows the tarball is of no use


@contextmanager
def _opened(data: IO[bytes], name: str) -> Iterator[tarfile.TarFile]:
    """A tarball to be read from its begin to its end, and believed if all of it is there."""
    decompress = COMPRESSIONS.get(name.rpartition(".")[2])
    if not decompress:
        raise CannotTest(f"cannot read {name}: give a .tar.xz or .tar.gz")
    try:
        with decompress(data) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            yield tar
            # tarfile takes a file that is cut off for one that ends; its compression does not.
            while plain.read(1 << 20):
                pass
    except DAMAGED as error:
        raise CannotTest(f"cannot read {name}: {error or 'it is cut off'}") from None


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """What is in a tarball, and the path that it has in the tree."""
    for member in tar:
        path = member.name.removeprefix("./").partition("/")[2]
        if path and ".." not in path.split("/"):
            yield member, path


def wanted(path: str) -> bool:
    """Is this file of the kernel's tree needed for a kernel of this machine's kind?"""
    if KEPT.search(path):
        return True
    own = f"arch/{arch.host().source}/"
    return not path.startswith(LEFT_OUT) and (not path.startswith("arch/") or path.startswith(own))


def unpack(data: IO[bytes], name: str, into: Path) -> None:
    """What a kernel is built from, out of a tarball of the kernel's source."""
    print("unpacking it (a minute)", flush=True)
    links = []
    with _opened(data, name) as tar:
        for count, (member, path) in enumerate(_members(tar)):
            if count % 500 == 0:
                progress.show(f"  {count} files: {path}")
            if wanted(path) and member.issym():
                links.append((into / path, member.linkname))
            elif wanted(path) and member.isfile():
                _write(tar.extractfile(member), into / path, member.mode)
    progress.show("")
    # Last, so that nothing is written through one.
    for link, target in links:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)


def _write(data: IO[bytes], path: Path, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        shutil.copyfileobj(data, out)
    path.chmod(0o755 if mode & 0o100 else 0o644)


def pick(deb: Path, names: tuple[str, ...], into: Path) -> None:
    """Only these files out of Debian's package, without unpacking the rest."""
    left = set(names)
    with _tarball_in(deb) as (data, name), _opened(data, name) as tar:
        for member, path in _members(tar):
            if path in left:
                _write(tar.extractfile(member), into / path, member.mode)
                left.remove(path)
