"""Where everything lives that is expensive to make: one directory, made once.

Two `make test` in two terminals, a Ctrl-C in the middle of a download and a
full disk are all ordinary here.  So a thing in the cache either is complete
or is not there: it is made in a directory of its own and renamed when done.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Callable, Iterator

from .errors import CannotTest

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")
MAKING = ".making."  # prefix of a directory still being made
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
MB = 1_000_000


def root() -> Path:
    """The cache directory, made if need be."""
    path = _place()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise CannotTest(
            f"cannot make the cache directory {path}: "
            f"{e.strerror}; set KMSGPIPE_CACHE to a directory "
            "of your own"
        ) from e
    if not os.access(path, os.W_OK | os.X_OK):
        raise CannotTest(
            f"cannot write to the cache directory {path}; set "
            "KMSGPIPE_CACHE to a directory of your own"
        )
    return path


def _place() -> Path:
    own = os.environ.get("KMSGPIPE_CACHE")
    if own:
        path = Path(os.path.abspath(own))
    else:
        # The XDG specification wants a relative XDG_CACHE_HOME ignored.
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        base = xdg if os.path.isabs(xdg) else os.path.expanduser("~/.cache")
        if not os.path.isabs(base):
            raise CannotTest(
                "no home directory to keep the cache in; set "
                "KMSGPIPE_CACHE to a directory of your own"
            )
        path = Path(base) / "kmsgpipe"
    if re.search(r"[\s:#$%]", str(path)):
        # Headers are built against from here, and the kernel's makefiles
        # split such a path in two.
        raise CannotTest(
            f"the kernel's makefiles cannot work in {path!s}: "
            "set KMSGPIPE_CACHE to a path without blanks, "
            "colons or $ % #"
        )
    return path


@contextlib.contextmanager
def lock(name: str, held_by: str = "") -> Iterator[None]:
    """Hold a lock between processes; it falls with the process that holds it."""
    with _lock_file(name).open("a") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for {held_by or f'another make ({name})'}", flush=True)
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


def _lock_file(name: str) -> Path:
    locks = root() / "locks"
    locks.mkdir(exist_ok=True)
    return locks / name


def build_once(key: str, make: Callable[[Path], None], needs: int = 0) -> Path:
    """The directory root()/key; make(dir) fills it if it is not there yet.

    `needs` is about how many bytes that takes: it is looked for beforehand,
    and said if the disk fills up all the same.
    """
    if not KEY.fullmatch(key):
        raise ValueError(f"not a cache key: {key!r}")
    done = root() / key
    if done.exists():
        return done
    with lock(key):
        if done.exists():  # made while we waited
            return done
        _sweep(key)
        check_space(needs)
        temp = Path(tempfile.mkdtemp(prefix=f"{MAKING}{key}.", dir=root()))
        try:
            temp.chmod(0o755)  # mkdtemp's 0700 would stay for good
            make(temp)
            temp.rename(done)
        except OSError as e:
            if e.errno in NO_SPACE:
                raise disk_full(needs) from e
            raise
        finally:
            if temp.exists():
                remove(temp)
    return done


def use(path: Path, keep: int) -> Path:
    """Note that an entry was used, and drop its kind's oldest beyond `keep`.

    For what is made anew after every edit: a saved VM of 80 MB would otherwise stay
    for each of them.  The kind is the key's part before the first "-".
    """
    os.utime(path)
    kind = path.name.partition("-")[0]
    ages = []
    for entry in root().glob(f"{kind}-*"):
        with contextlib.suppress(FileNotFoundError):
            ages.append((entry.stat().st_mtime, entry))
    for _, entry in sorted(ages, reverse=True)[keep:]:
        remove(entry)
    return path


def _sweep(mine: str) -> None:
    """Remove what makers that died left behind.

    A maker holds its key's lock while its directory exists, so a directory
    whose lock is free has nobody any more.  Process ids would not tell: they
    are reused, and a container sees none but its own.
    """
    for temp in root().glob(MAKING + "*"):
        key = temp.name[len(MAKING) :].rpartition(".")[0]
        if key == mine:  # its lock is ours
            remove(temp)
            continue
        with _lock_file(key).open("a") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            remove(temp)


def remove(path: Path) -> None:
    """rm -rf, also of directories that came without write permission."""
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        for directory, _, _ in os.walk(path):
            os.chmod(directory, 0o700)
        shutil.rmtree(path)


def check_space(needs: int) -> None:
    """Say that the disk is too full before an hour of downloading, not after."""
    if needs and shutil.disk_usage(root()).free < needs:
        raise disk_full(needs)


def disk_full(needs: int = 0) -> CannotTest:
    free = shutil.disk_usage(root()).free
    much = f"; this step needs about {needs // MB} MB" if needs else ""
    return CannotTest(
        f"the disk is full: {root()} has {free // MB} MB left"
        f"{much}. Make room, or set KMSGPIPE_CACHE to another "
        "disk"
    )


def digest(*parts: str | bytes | Path) -> str:
    """A short name for all of that; of a Path, the content of the file."""
    total = hashlib.sha256()
    for part in parts:
        one = hashlib.sha256()
        if isinstance(part, Path):
            with part.open("rb") as f:
                for chunk in iter(lambda: f.read(1 << 20), b""):
                    one.update(chunk)
        else:
            one.update(part.encode() if isinstance(part, str) else part)
        total.update(one.digest())  # fixed size: ("ab","c") != ("a","bc")
    return total.hexdigest()[:16]


def write_atomic(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never half of one."""
    fd, temp = tempfile.mkstemp(prefix=".write-", dir=path.parent)
    try:
        with os.fdopen(fd, "w") as f:
            f.write(text)
        os.chmod(temp, 0o644)
        os.rename(temp, path)
    except OSError as e:
        with contextlib.suppress(OSError):
            os.unlink(temp)
        if e.errno in NO_SPACE:
            raise disk_full() from e
        raise
