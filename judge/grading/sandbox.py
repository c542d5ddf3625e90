"""Where the compiler runs that reads a stranger's text.

A compiler is a program that a source can steer: it opens files by name (#include,
.incbin), it takes memory and time as it is told to, and its tools have bugs. So it sees
/usr, the kernel's headers and one folder of ours, has no network, and is bounded.

The first of these that works is used:

    bubblewrap  namespaces, by bwrap
    unshare     the same namespaces, by util-linux alone
    landlock    in a container that allows no namespaces: the kernel refuses other files
    none        bounds only; then scan.py has to refuse what it cannot follow

Which of them works is found out by running something in it, not by looking for a program.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from ..errors import CannotTest, UsageError
from . import scan

MB = 1 << 20
# A reference stage takes a third of this memory, and 5 s on a slow machine.
MOST_MEMORY = 1536 * MB  # address space of each process
MOST_CPU = 20  # seconds of each process
MOST_FILE = 32 * MB
MOST_OUTPUT = 256 << 10  # bytes of messages
MOST_SECONDS = 300  # on a machine that has much else to do
TMP_SIZE = 128 * MB

SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/libx32", "/lib64")
# awk and the like are links into there; the loader finds /usr/local's libraries by the other.
CONFIGURATION = ("/etc/alternatives", "/etc/ld.so.cache")
DEVICES = ("null", "zero", "full", "urandom", "random")
NOBODY = "65534"
LANDLOCK = Path(__file__).with_name("landlock.py")


@dataclass(frozen=True)
class Room:
    """What a command may see besides /usr: one folder to work in, and some to read."""

    place: Path
    readable: tuple[Path, ...]
    empty: Path  # an empty folder that is ours, to build the new root on

    @property
    def temporary(self) -> Path:
        """Where temporary files go if there is no /tmp of its own."""
        return self.place / ".tmp"


@dataclass(frozen=True)
class Done:
    """What came of a command; `cut` says why it was ended, if it was."""

    status: int
    output: str
    cut: str = ""


# -- the kinds --------------------------------------------------------------------------


def _bubblewrap(room: Room) -> list[str]:
    argv = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
            "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev",
            "--tmpfs", "/tmp"]  # fmt: skip
    for path in SYSTEM:
        if os.path.islink(path):
            argv += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            argv += ["--ro-bind", path, path]
    for path in (*CONFIGURATION, *map(str, room.readable)):
        if os.path.exists(path):
            argv += ["--ro-bind", path, path]
    return [*argv, "--bind", str(room.place), str(room.place), "--chdir", "/", "--"]


def _unshare(room: Room) -> list[str]:
    """The same by hand: a new root on a tmpfs, and the old one gone from it."""
    root = shlex.quote(str(room.empty))
    lines = [
        "set -e",
        f"mount -t tmpfs -o size={MB},mode=755 tmpfs {root}",
        f"cd {root}",
        "mkdir old proc tmp dev",
        "mount -t proc proc proc 2>/dev/null || true",
        f"mount -t tmpfs -o size={TMP_SIZE},mode=1777 tmpfs tmp",
    ]
    for name in DEVICES:
        lines.append(f": >dev/{name}; mount --bind /dev/{name} dev/{name}")

    def bind(path: str, read_only: bool) -> None:
        inside = shlex.quote(f".{path}")
        make = f"mkdir -p {inside}"
        if not os.path.isdir(path):
            make = f"mkdir -p {shlex.quote('.' + os.path.dirname(path))}; : >{inside}"
        lines.append(f"{make}; mount --rbind {shlex.quote(path)} {inside}")
        if read_only:  # these two flags may be locked on; to set them is always allowed
            lines.append(f"mount -o remount,bind,ro,nosuid,nodev {inside}")

    bind("/usr", True)
    for path in SYSTEM:
        if os.path.islink(path):
            lines.append(f"ln -s {shlex.quote(os.readlink(path))} .{path}")
        elif os.path.isdir(path):
            bind(path, True)
    for path in (*CONFIGURATION, *map(str, room.readable)):
        if os.path.exists(path):
            bind(path, True)
    bind(str(room.place), False)
    lines += ["pivot_root . old", "cd /", "umount -l old", "rmdir old",
              "mount -o remount,bind,ro /",
              'exec setpriv --bounding-set -all --inh-caps -all --no-new-privs -- "$@"']  # fmt: skip
    return ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc",
            "--uts", "--kill-child=KILL", "--", "sh", "-c", "\n".join(lines), "sandbox"]  # fmt: skip


def _landlock(room: Room) -> list[str]:
    readable = ["/usr", *SYSTEM, *CONFIGURATION, *map(str, room.readable)]
    writable = [str(room.place), *(f"/dev/{name}" for name in DEVICES)]
    return [sys.executable, "-S", str(LANDLOCK), "\n".join(readable), "\n".join(writable)]


def _none(room: Room) -> list[str]:
    """No other files than anybody's, at least, if we are root and nobody can read the rest."""
    if os.geteuid() != 0 or not _nobody_can_work(room):
        return []
    return _as_nobody()


def _as_nobody() -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
            "--no-new-privs", "--"]  # fmt: skip


def _nobody_can_work(room: Room) -> bool:
    for path in (room.place, *room.place.rglob("*")):
        os.chown(path, int(NOBODY), int(NOBODY), follow_symlinks=False)
    tests = [f"test -r {shlex.quote(str(path))}" for path in room.readable]
    tests.append(f"test -w {shlex.quote(str(room.place))}")
    command = [*_as_nobody(), "sh", "-c", " && ".join(tests)]
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode == 0


KINDS: dict[str, Callable[[Room], list[str]]] = {
    "bubblewrap": _bubblewrap,
    "unshare": _unshare,
    "landlock": _landlock,
    "none": _none,
}
MEANS = {
    "bubblewrap": "in a sandbox without the host's files and network (bubblewrap)",
    "unshare": "in a sandbox without the host's files and network (unshare)",
    "landlock": "in a sandbox without the host's files (landlock)",
    "none": "WITHOUT a sandbox: neither bubblewrap nor unshare nor landlock works here. "
    "Sources are only scanned, and a scan can be beaten: install bubblewrap, "
    "or grade in a machine that holds no secrets",
}


class Sandbox:
    """One of the kinds; choose() says which."""

    def __init__(self, kind: str):
        self.kind = kind
        self.means = MEANS[kind]
        self._running: set[subprocess.Popen] = set()
        self._stopped = False

    @property
    def scan(self) -> Callable[[str, str], None]:
        """What a text must not have, as far as this kind does not prevent it anyway."""
        return {"none": scan.strict, "landlock": scan.asking}.get(self.kind, scan.plain)

    def prefix(self, room: Room) -> list[str]:
        """What to put before a command."""
        limits = ["prlimit", f"--as={MOST_MEMORY}", f"--cpu={MOST_CPU}:{MOST_CPU + 5}",
                  f"--fsize={MOST_FILE}", "--core=0", "--"]  # fmt: skip
        # It ends with us, whatever ends us.
        return ["setpriv", "--pdeathsig", "KILL", "--", *KINDS[self.kind](room), *limits]

    def environment(self, room: Room) -> dict[str, str]:
        own_tmp = self.kind in ("bubblewrap", "unshare")
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C",
            "TMPDIR": "/tmp" if own_tmp else str(room.temporary), "HOME": "/nonexistent",
        }  # fmt: skip

    def run(self, room: Room, command: Sequence[str], seconds: float = MOST_SECONDS) -> Done:
        """Runs a command in there to its end, or to the end of our patience."""
        room.temporary.mkdir(exist_ok=True)
        room.empty.mkdir(exist_ok=True)
        try:
            process = subprocess.Popen(
                [*self.prefix(room), *command], env=self.environment(room), cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise CannotTest(f"cannot start {error.filename}; `make doctor` tells more") from None
        self._running.add(process)
        if self._stopped:
            _kill(process)
        try:
            with process:
                output, cut = _listen(process, seconds)
        finally:
            self._running.discard(process)
        return Done(process.returncode, output.decode("utf-8", "replace"), cut)

    def stop(self) -> None:
        """From another thread: what runs in there ends, and so does what comes."""
        self._stopped = True
        for process in list(self._running):
            _kill(process)


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _listen(process: subprocess.Popen, seconds: float) -> tuple[bytes, str]:
    """What a command says, and why it was ended if it said too much or took too long."""
    output = bytearray()
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        try:
            while len(output) <= MOST_OUTPUT:
                left = deadline - time.monotonic()
                if not selector.select(max(0.0, left)):
                    return bytes(output), f"the compiler was ended after {seconds:.0f} s"
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    process.wait(max(0.0, left))
                    return bytes(output), ""
                output += data
            return bytes(output), f"the compiler was ended: it said more than {MOST_OUTPUT >> 10} kB"
        except subprocess.TimeoutExpired:
            return bytes(output), f"the compiler was ended after {seconds:.0f} s"
        finally:
            if process.returncode is None:
                _kill(process)


def works(kind: str, scratch: Path) -> bool:
    """Runs the compiler in there, and looks whether our own files are out of its sight."""
    room = Room(scratch / "place", (), scratch / "root")
    room.place.mkdir(parents=True, exist_ok=True)
    look = (
        'cc=$(command -v gcc || command -v cc) && $cc --version >/dev/null && ! cat "$0" >/dev/null'
    )
    # Not below /usr, should somebody keep the course there.
    secret = scratch / "secret"
    secret.write_text("not for strangers\n")
    try:
        done = Sandbox(kind).run(room, ["sh", "-c", look, str(secret)], 20)
    except CannotTest:
        return False
    return done.status == 0


def choose(scratch: Path) -> Sandbox:
    """The first kind that works here; SANDBOX= insists on one."""
    wanted = os.environ.get("SANDBOX", "")
    if wanted and wanted not in KINDS:
        raise UsageError(f"SANDBOX={wanted}: it is one of {', '.join(KINDS)}")
    if wanted == "none":
        return Sandbox("none")
    for kind in [wanted] if wanted else [kind for kind in KINDS if kind != "none"]:
        if (kind != "bubblewrap" or shutil.which("bwrap")) and works(kind, scratch):
            return Sandbox(kind)
    if wanted:
        raise CannotTest(f"SANDBOX={wanted}: it does not work here")
    return Sandbox("none")
