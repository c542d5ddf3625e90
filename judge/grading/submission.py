"""Takes the few files that count out of what a student handed in.

That is a folder, an archive or one C file. Nothing is ever unpacked: members are looked at
one by one, and of all of them only the stage's source and its own headers are read, into
memory. Links and devices are not followed, names and sizes are not believed.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Collection, Iterator, Sequence

from ..stages import STAGES, Stage

MOST_SOURCE = 256 << 10  # six times the capstone's
MOST_ARCHIVE = 16 << 20
MOST_UNPACKED = 64 << 20
MOST_MEMBERS = 5000
MOST_DEPTH = 12
SHOWN = 100  # characters of a name

ARCHIVES = (
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!", "rar"),
)  # fmt: skip
OPENED = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
LOOKS_LIKE_ARCHIVE = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")


class NotGradable(Exception):
    """Nothing that could be judged was handed in; the text says what is missing or wrong."""


@dataclass(frozen=True)
class Member:
    """A file of a submission; data only if it is a wanted one."""

    path: str
    kind: str  # file, link, other
    data: bytes = b""


@dataclass(frozen=True)
class Submission:
    stage: Stage
    files: dict[str, bytes]  # by the name in the stage's folder
    origin: str  # where in the submission the source was

    @property
    def source(self) -> bytes:
        return self.files[PurePosixPath(self.stage.source).name]


def shown(name: str) -> str:
    """A stranger's file name, safe on a terminal and on one line.

    Control characters, and those that turn the direction of writing, become visible.
    """
    try:
        text = os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        text = name.encode("ascii", "backslashreplace").decode()
    safe = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return safe if len(safe) <= SHOWN else safe[: SHOWN - 3] + "..."


def _wanted(stages: Sequence[Stage]) -> set[str]:
    return {PurePosixPath(path).name for stage in stages for path in stage.sources}


def _checked(path: str) -> str:
    """A member's path, if it stays inside."""
    parts = path.replace("\\", "/").split("/")
    if path.startswith(("/", "\\")) or ".." in parts or parts[0][1:2] == ":":
        raise NotGradable(f"the archive has {shown(path)} in it: a path that leads out of it")
    return "/".join(part for part in parts if part not in ("", "."))


def _too_large(name: str, size: int) -> NotGradable:
    return NotGradable(f"{shown(name)} has {size >> 10} kB; {MOST_SOURCE >> 10} kB are the most")


def _count(number: int) -> None:
    if number > MOST_MEMBERS:
        raise NotGradable(f"it has more than {MOST_MEMBERS} files: hand in the source only")


# -- where members come from ------------------------------------------------------------


def _read_regular(name: str, folder: int | None, path: str, most: int = MOST_SOURCE) -> Member:
    """A file of the host's file system, opened in a way that follows no link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        fd = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return Member(path, "link")
        raise NotGradable(f"{shown(path)} cannot be read: {error.strerror}") from None
    with open(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            return Member(path, "other")
        if about.st_nlink > 1:  # two names: the other one may be none of the student's
            return Member(path, "link")
        if about.st_size > most:
            raise _too_large(path, about.st_size)
        data = file.read(most + 1)
    if len(data) > most:
        raise _too_large(path, len(data))
    return Member(path, "file", data)


def _of_folder(top: Path, wanted: Collection[str]) -> Iterator[Member]:
    number = 0
    for folder, folders, names, fd in os.fwalk(top, follow_symlinks=False):
        inside = os.path.relpath(folder, top)
        folders[:] = sorted(name for name in folders if name not in (".git", ".svn"))
        if inside.count("/") >= MOST_DEPTH:
            folders.clear()
        for name in sorted(names):
            _count(number := number + 1)
            path = os.path.normpath(os.path.join(inside, name))
            if name in wanted:
                yield _read_regular(name, fd, path)
            else:
                yield Member(path, "file")
        for name in folders:  # a folder may have a wanted name, or be a link that has
            _count(number := number + 1)
            if name in wanted:
                yield Member(os.path.normpath(os.path.join(inside, name)), "other")


class _Limited:
    """A stream that ends the reading of what unpacks to too much."""

    def __init__(self, stream: IO[bytes]):
        self._stream = stream
        self._left = MOST_UNPACKED

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, 1 << 20))
        self._left -= len(data)
        if self._left < 0:
            raise NotGradable(f"it unpacks to more than {MOST_UNPACKED >> 20} MB")
        return data


def _of_tar(file: IO[bytes], packed: str, wanted: Collection[str]) -> Iterator[Member]:
    stream = OPENED[packed](file) if packed in OPENED else file
    # As a stream: nothing is looked for by an offset that the archive names.
    with tarfile.open(fileobj=_Limited(stream), mode="r|", errorlevel=0) as tar:
        for number, info in enumerate(tar, 1):
            _count(number)
            path = _checked(info.name)
            if info.isdir():
                continue
            kind = "file" if info.isreg() else "link" if info.issym() or info.islnk() else "other"
            data = b""
            if kind == "file" and path.rpartition("/")[2] in wanted:
                if info.size > MOST_SOURCE:
                    raise _too_large(path, info.size)
                data = tar.extractfile(info).read(MOST_SOURCE + 1)
            yield Member(path, kind, data)
            tar.members = []  # it would keep them all


def _of_zip(file: IO[bytes], wanted: Collection[str]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as packed:
        members = packed.infolist()
        _count(len(members))
        if sum(info.file_size for info in members) > MOST_UNPACKED:
            raise NotGradable(f"it unpacks to more than {MOST_UNPACKED >> 20} MB")
        for info in members:
            path = _checked(info.filename)
            if info.is_dir():
                continue
            mode = info.external_attr >> 16
            kind = "link" if stat.S_ISLNK(mode) else "file"
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFLNK):
                kind = "other"
            data = b""
            if kind == "file" and path.rpartition("/")[2] in wanted:
                if info.flag_bits & 1:
                    raise NotGradable(f"{shown(path)} is encrypted")
                with packed.open(info) as one:
                    data = one.read(MOST_SOURCE + 1)
                if len(data) > MOST_SOURCE:
                    raise _too_large(path, max(len(data), info.file_size))
            yield Member(path, kind, data)


def _archive_kind(file: IO[bytes]) -> str:
    start = file.read(512)
    file.seek(0)
    tar = start[257:262] == b"ustar"
    return "tar" if tar else next((kind for magic, kind in ARCHIVES if start.startswith(magic)), "")


def _of_archive(path: Path, wanted: Collection[str]) -> list[Member]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_ARCHIVE:
            raise NotGradable(
                f"the archive has {size >> 20} MB; {MOST_ARCHIVE >> 20} MB are the most"
            )
        kind = _archive_kind(file)
        try:
            if kind == "zip":
                return list(_of_zip(file, wanted))
            if kind in ("tar", *OPENED):
                return list(_of_tar(file, kind, wanted))
        except NotGradable:
            raise
        except Exception as error:  # whatever a made-up archive brings these libraries to
            why = shown(str(error) or type(error).__name__)
            raise NotGradable(f"the archive is damaged: {why}") from None
    if kind:
        raise NotGradable(f"a {kind} archive is not opened here: hand in a .tar.gz or a .zip")
    raise NotGradable("it is neither a folder nor a C file nor an archive (.tar, .tar.gz, .zip)")


def members(path: Path, wanted: Collection[str]) -> list[Member]:
    """All files of a submission, those of these names with their content."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            return list(_of_folder(path, wanted))
        if stat.S_ISREG(mode):
            return _of_archive(path, wanted)
    except OSError as error:
        raise NotGradable(f"it cannot be read: {error.strerror}") from None
    kind = "a symbolic link" if stat.S_ISLNK(mode) else "neither a folder nor a file"
    raise NotGradable(f"it is {kind}")


# -- which of them count ----------------------------------------------------------------


def _rank(path: str, stage: Stage) -> int:
    """A student's own work before what merely has the right name."""
    if f"/{path}".endswith(f"/work/{stage.source}"):
        return 0
    return 1 if f"/{path}".endswith(f"/{stage.source}") else 2


def _missing(name: str, found: Sequence[Member]) -> NotGradable:
    if not found:
        return NotGradable(f"{name} is missing: it is empty")
    inner = [one.path for one in found if one.path.lower().endswith(LOOKS_LIKE_ARCHIVE)]
    if inner:
        return NotGradable(f"{name} is missing; archives inside of it are not opened: "
                           f"{shown(inner[0])}")  # fmt: skip
    paths = sorted((one.path for one in found), key=lambda path: (not path.endswith(".c"), path))
    others = ", ".join(shown(path) for path in paths[:3])
    return NotGradable(f"{name} is missing; there is {others}{', ...' if len(paths) > 3 else ''}")


def _one(name: str, stage: Stage, found: Sequence[Member]) -> Member | None:
    """The file of that name that counts."""
    here = [one for one in found if one.path.rpartition("/")[2] == name]
    if not here:
        return None
    best = min(_rank(one.path, stage) for one in here)
    here = [one for one in here if _rank(one.path, stage) == best]
    for one in here:
        if one.kind != "file":
            what = "a link" if one.kind == "link" else "not a file"
            raise NotGradable(f"{shown(one.path)} is {what}: hand in the file itself")
    if len({one.data for one in here}) > 1:
        places = ", ".join(shown(one.path) for one in here[:3])
        raise NotGradable(f"{name} is there {len(here)} times, with different content: {places}")
    return here[0]


def _stage_of(found: Sequence[Member]) -> Stage:
    """The stage, if the submission has the source of one only."""
    names = {one.path.rpartition("/")[2] for one in found}
    has = [stage for stage in STAGES if PurePosixPath(stage.source).name in names]
    if len(has) == 1:
        return has[0]
    if has:
        raise NotGradable(f"it has the sources of {' and '.join(s.name for s in has)}: "
                          f"say which one counts, such as STAGE={has[-1].name}")  # fmt: skip
    raise _missing("a kmsgpipe_*.c", found)


def _check_text(name: str, data: bytes) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise NotGradable(f"{name} is UTF-16: save it as UTF-8")
    if b"\0" in data:
        raise NotGradable(f"{name} has NUL bytes in it: it is not C source as UTF-8")
    if not data.strip():
        raise NotGradable(f"{name} is empty")


def take(path: Path, stage: Stage | None = None) -> Submission:
    """The files that count, of that stage or of the only one that is there."""
    if path.suffix == ".c" and stage and stat.S_ISREG(os.lstat(path).st_mode):
        one = _read_regular(str(path), None, path.name)
        if one.kind != "file":
            raise NotGradable("it is a link: hand in the file itself")
        found = [Member(PurePosixPath(stage.source).name, "file", one.data)]
    elif path.suffix == ".c" and path.name in _wanted(STAGES):
        found = [_read_regular(str(path), None, path.name)]
    elif path.suffix == ".c":
        raise NotGradable(f"of which lab is {shown(path.name)}? Say so, such as STAGE=lab3")
    else:
        found = members(path, _wanted([stage] if stage else STAGES))
    stage = stage or _stage_of(found)
    name, *headers = (PurePosixPath(path).name for path in stage.sources)
    source = _one(name, stage, found)
    if not source:
        raise _missing(name, found)
    # A header that the source does not use need not be there.
    chosen = {name: source, **{header: _one(header, stage, found) for header in headers}}
    files = {name: one.data for name, one in chosen.items() if one}
    for name, data in files.items():
        _check_text(name, data)
    return Submission(stage, files, source.path)
