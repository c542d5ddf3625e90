"""One QEMU process: start it, talk to it, end it.

Three channels lead into a VM. All are pairs of descriptors made here, so that nothing is
left in the file system and nobody else can connect:

  console   the kernel's log, guest to host only: a pipe, the others are sockets
  port      the guest's PID 1 (guest/init.c): commands, and the results of tests
  shell     an interactive bash, for demos, transcripts and `make lab3 shell`

Files go in and out through a piece of memory that both sides see (QEMU's ivshmem): a serial
line takes a second for 30 kB, and a disk would need a driver that kernels lack.

QEMU runs under setpriv --pdeathsig: it dies with us, whatever ends us.

A saved VM is two files. `ram` is the guest's memory as it is: QEMU maps it, so that what
a guest does not touch costs nothing, and what it writes stays its own. `state` is the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import selectors
import socket
import subprocess
import time
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Callable

from . import tsc
from .arch import Arch
from .errors import CannotTest
from .text import printable

# A log that grows beyond this is a flood; what is kept is enough to see why.
LOG_LIMIT = 2 << 20
# What a console holds that we have not read yet, if the system lets us have so much.
CONSOLE_ROOM = 1 << 20
# Nothing sensible sends longer lines; the rest of such a line is dropped.
LINE_LIMIT = 64 << 10
# PID 1 mostly answers within a second; in CI it once took more than ten. A time-out here blames
# whatever is judged.
ANSWER_SECONDS = 60
# The memory that host and guest share; a PCI device's, so a power of two.
WINDOW = 4 << 20
# A file in the guest may grow while it is read, and never end. 100 KB take a second.
MOST_BYTES = 4 << 20
# Pieces of a saved VM's memory; one that is all zeros takes no room on the disk.
RAM_BLOCK = 64 << 10
# Memory that QEMU shares with a file is left out of its stream.
NO_RAM = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}
# QEMU's own complaints: the first ones tell most.
COMPLAINT_LIMIT = 4 << 10


class VmGone(Exception):
    """The VM ended, or went silent, while we still wanted something from it."""


@dataclass(frozen=True)
class Machine:
    """What decides how a VM behaves; two equal ones can share a saved state."""

    arch: Arch
    accel: str
    image: Path
    initrd: Path
    cpus: int = 2
    memory_mb: int = 256
    # Of the kernel, see cmdline.py.
    options: tuple[str, ...] = ()
    # Emulated only: time is the number of instructions, and each run is like the one before.
    counts: bool = False

    def command(self) -> list[str]:
        cpu = self.arch.kvm_cpu if self.accel == "kvm" else self.arch.tcg_cpu
        accel = "kvm" if self.accel == "kvm" else "tcg,thread=multi"
        counting: tuple[str, ...] = ()
        if self.counts:
            accel = "tcg,thread=single"
            counting = ("-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm")
        append = [
            f"console={self.arch.console}", *self.options,
            *(self.arch.tcg_options if self.accel == "tcg" else ()),
            *(tsc.options() if self.accel == "tcg" and not self.counts else ()),
            f"JUDGE_PORT={self.arch.control}", f"SHELL_PORT={self.arch.shell}",
        ]  # fmt: skip
        return [
            self.arch.qemu, "-accel", accel, *counting, *self.arch.machine, "-cpu", cpu,
            "-smp", str(self.cpus), "-m", str(self.memory_mb),
            "-machine", "memory-backend=ram",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-kernel", str(self.image), "-initrd", str(self.initrd), "-append", " ".join(append),
        ]  # fmt: skip


class Vm:
    """A running VM. Every wait has a deadline; use it as a context manager."""

    def __init__(self, machine: Machine, restore: Path | None = None):
        """Boots it, or has it come back from the folder that save() has filled."""
        self.machine = machine
        self.log = bytearray()
        self.log_overflow = False
        self.shell_out = bytearray()
        self._lines: deque[str] = deque()
        self._partial = bytearray()
        self._qmp_lines: deque[dict] = deque()
        self._qmp_partial = bytearray()
        self._selector = selectors.DefaultSelector()
        self._open = 0
        self._complaint = bytearray()
        self._ram = -1  # of a VM that boots: its memory, for save()
        self._start(restore)

    def _start(self, restore: Path | None) -> None:
        theirs: list[int] = []  # what QEMU inherits
        args = ["setpriv", "--pdeathsig", "KILL", *self.machine.command()]
        args += self._memories(restore, theirs)
        args += self._channels(theirs)
        if restore:
            theirs.append(os.open(restore / "state", os.O_RDONLY | os.O_CLOEXEC))
            args += ["-incoming", "defer"]
        errors = self._listen("stderr")
        try:
            self._process = subprocess.Popen(
                args, pass_fds=theirs, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=errors,
                # Ctrl-C is for us: we end the VM, and say so.
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise CannotTest(f"cannot start {error.filename}; `make doctor` tells more") from None
        finally:
            for fd in (*theirs, errors):
                os.close(fd)
        if restore:
            # Not waited for: it comes back while we do something else.
            self._qmp_send("qmp_capabilities")
            self._qmp_send("migrate-set-capabilities", **NO_RAM)
            self._qmp_send("migrate-incoming", uri=f"fd:{theirs[-1]}")

    def _memories(self, restore: Path | None, theirs: list[int]) -> list[str]:
        """The guest's memory, and the window. In this order: QEMU 10.0 cannot save others."""
        if restore:
            ram = os.open(restore / "ram", os.O_RDWR | os.O_CLOEXEC)
        else:
            ram = os.memfd_create("ram")
            os.ftruncate(ram, self.machine.memory_mb << 20)
            self._ram = os.dup(ram)
        window = os.memfd_create("window")
        os.ftruncate(window, WINDOW)
        self._window = mmap.mmap(window, WINDOW)
        theirs += [ram, window]
        backend = "memory-backend-file,mem-path=/proc/self/fd"
        return [
            "-object", f"{backend}/{ram},id=ram,size={self.machine.memory_mb}M,"
            f"share={'off' if restore else 'on'}",
            # Only we write there, so a private mapping shows it to the guest, too. A shared one
            # has to be at the same address when a VM comes back, and has none then.
            "-object", f"{backend}/{window},id=window,size={WINDOW},share=off",
            # Without "master" QEMU refuses to save a VM that has the device.
            "-device", "ivshmem-plain,memdev=window,master=on",
        ]  # fmt: skip

    def _channels(self, theirs: list[int]) -> list[str]:
        console = self._listen_to_console()
        theirs.append(console)
        # Appending, for QEMU would cut off what is there, and nobody can do that to a pipe.
        args = ["-add-fd", f"fd={console},set=1",
                "-chardev", "file,id=console,path=/dev/fdset/1,append=on",
                "-serial", "chardev:console"]  # fmt: skip
        for name, device in (
            ("port", ["-serial", "chardev:port"]),
            ("shell", ["-device", "pci-serial,chardev=shell"]),
            ("qmp", ["-mon", "chardev=qmp,mode=control"]),
        ):
            theirs.append(self._listen(name))
            args += ["-chardev", f"socket,id={name},fd={theirs[-1]}", *device]
        return args

    def _listen(self, name: str) -> int:
        """Makes a channel; what arrives goes to _on_NAME(). Returns QEMU's end of it."""
        ours, other = socket.socketpair()
        ours.setblocking(False)
        self._register(name, ours)
        return other.detach()

    def _listen_to_console(self) -> int:
        """As _listen(), by a pipe.

        A serial console does not wait for a reader, beyond a few milliseconds: it goes on, and
        16 bytes are lost. QEMU passes each byte on alone, and of such a socket holds less than
        300, which is three marks: on a busy host we do not always come in time.
        """
        ours, other = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        with contextlib.suppress(OSError):  # a user has so many pages in pipes, and no more
            fcntl.fcntl(other, fcntl.F_SETPIPE_SZ, CONSOLE_ROOM)
        self._register("console", open(ours, "rb", buffering=0))
        return other

    def _register(self, name: str, ours: socket.socket | BinaryIO) -> None:
        setattr(self, f"_{name}", ours)
        self._selector.register(ours, selectors.EVENT_READ, getattr(self, f"_on_{name}"))
        self._open += 1

    # -- what arrives ---------------------------------------------------------------

    def _on_console(self, data: bytes) -> None:
        room = LOG_LIMIT - len(self.log)
        self.log += data[:room]
        self.log_overflow |= len(data) > room

    def _on_shell(self, data: bytes) -> None:
        # Only while somebody listens does anything sensible come from there.
        self.shell_out += data[: LOG_LIMIT - len(self.shell_out)]

    def _on_port(self, data: bytes) -> None:
        *whole, rest = (bytes(self._partial) + data).split(b"\n")
        self._partial = bytearray(rest[:LINE_LIMIT])
        for line in whole:
            self._lines.append(printable(line.rstrip(b"\r")))

    def _on_qmp(self, data: bytes) -> None:
        *whole, rest = (bytes(self._qmp_partial) + data).split(b"\n")
        self._qmp_partial = bytearray(rest)
        for line in whole:
            if line.strip():
                self._qmp_lines.append(json.loads(line))

    def _on_stderr(self, data: bytes) -> None:
        self._complaint += data[: COMPLAINT_LIMIT - len(self._complaint)]

    def log_lines(self, start: int = 0) -> list[str]:
        """The console's lines from that one on; the last may be on its way still: left out."""
        return [printable(line.rstrip(b"\r")) for line in bytes(self.log).split(b"\n")[start:-1]]

    def pump(self, timeout: float) -> None:
        """Reads whatever has arrived, waiting at most timeout seconds for it."""
        if not self._open:
            raise VmGone("the VM ended")
        for key, _ in self._selector.select(max(0.0, timeout)):
            try:
                data = os.read(key.fd, 65536)
            except (BlockingIOError, InterruptedError):
                continue
            except ConnectionError:
                data = b""
            if data:
                key.data(data)
            else:
                self._selector.unregister(key.fileobj)
                self._open -= 1

    def fileno(self) -> int:
        """Readable when pump() has something to read: for who listens elsewhere too."""
        return self._selector.fileno()

    def wait(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Pumps until ready() is true; VmGone after so many seconds without."""
        deadline = time.monotonic() + seconds
        while not ready():
            left = deadline - time.monotonic()
            if left <= 0:
                raise VmGone(f"no {what} within {seconds:.0f} s")
            self.pump(min(left, 0.25))

    # -- the port to PID 1 ----------------------------------------------------------

    def line(self, seconds: float, what: str = "answer") -> str:
        self.wait(lambda: bool(self._lines), seconds, what)
        return self._lines.popleft()

    def has_line(self) -> bool:
        return bool(self._lines)

    def answer(self, seconds: float, what: str) -> str:
        """The next line of PID 1 itself; anything else on the way is dropped."""
        deadline = time.monotonic() + seconds
        while True:
            line = self.line(deadline - time.monotonic(), what)
            if line.startswith("@"):
                return line

    def _send(self, channel: socket.socket, data: bytes, seconds: float = ANSWER_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while data:
            try:
                data = data[channel.send(data):]  # fmt: skip
            except (BlockingIOError, InterruptedError):
                if time.monotonic() > deadline:
                    raise VmGone("the VM takes no input") from None
                self.pump(0.01)
            except OSError:
                raise VmGone("the VM ended") from None

    def command(self, *words: str) -> None:
        self._send(self._port, (" ".join(words) + "\n").encode())

    def ask(self, *words: str, seconds: float = ANSWER_SECONDS) -> str:
        self.command(*words)
        answer = self.answer(seconds, f"answer to {words[0]}")
        if answer.startswith("@error"):
            raise VmGone(f"{words[0]}: {answer[7:]}")
        return answer

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Writes a file in the guest."""
        for start in range(0, max(1, len(data)), WINDOW):
            chunk = data[start : start + WINDOW]
            self._window[: len(chunk)] = chunk
            how = "append" if start else "create"
            self.ask("put", how, path, f"{mode:o}", str(len(chunk)), f"{zlib.crc32(chunk):08x}")

    def touch(self, path: str) -> None:
        """Makes an empty file in the guest. The answer, @ok, comes among the next lines."""
        self.command("put", "create", path, "600", "0", f"{zlib.crc32(b''):08x}")

    def get(self, path: str, most: int = MOST_BYTES) -> bytes:
        """Reads a file of the guest."""
        data = b""
        while piece := bytes.fromhex(self.ask("get", path, str(len(data)))[len("@got ") :]):
            data += piece
            if len(data) > most:
                raise VmGone(f"get: {path} has more than {most} bytes")
        return data

    # -- the interactive shell ------------------------------------------------------

    def type(self, data: bytes) -> None:
        self._send(self._shell, data)

    def shell_socket(self) -> socket.socket:
        return self._shell

    # -- QEMU itself ----------------------------------------------------------------

    def _qmp_send(self, command: str, **arguments: object) -> None:
        message = {"execute": command, "arguments": arguments}
        self._send(self._qmp, json.dumps(message).encode() + b"\n")

    def _qmp_answer(self, command: str, seconds: float) -> dict:
        while True:
            self.wait(lambda: bool(self._qmp_lines), seconds, f"QMP answer to {command}")
            answer = self._qmp_lines.popleft()
            if "error" in answer:
                raise VmGone(f"QMP {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]

    def qmp(self, command: str, seconds: float = 30, **arguments: object) -> dict:
        self._qmp_send(command, **arguments)
        return self._qmp_answer(command, seconds)

    def wait_resumed(self, seconds: float) -> None:
        """Until a restored VM runs. What is typed before that is lost with its old state."""
        deadline = time.monotonic() + seconds
        for command in ("qmp_capabilities", "migrate-set-capabilities", "migrate-incoming"):
            self._qmp_answer(command, seconds)
        while self.qmp("query-status", seconds)["status"] != "running":
            if time.monotonic() > deadline:
                raise VmGone(f"the VM does not run within {seconds:.0f} s")
            self.pump(0.01)
        if self.machine.cpus > 1:
            self._keep_apart()

    def _keep_apart(self) -> None:
        """Each virtual CPU on CPUs of its own: taking turns on one of them, no two would race."""
        cpus = sorted(os.sched_getaffinity(0))
        for number, virtual in enumerate(self.qmp("query-cpus-fast")):
            if own := cpus[number :: self.machine.cpus]:
                os.sched_setaffinity(virtual["thread-id"], own)

    def save(self, folder: Path, seconds: float = 60) -> None:
        """Saves a VM that has booted. It stays paused after that."""
        self.qmp("qmp_capabilities")
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.qmp("migrate-set-capabilities", **NO_RAM)
        with open(folder / "state", "wb") as state:
            # QEMU's end of this descriptor travels over the monitor's socket.
            message = b'{"execute": "getfd", "arguments": {"fdname": "state"}}\n'
            socket.send_fds(self._qmp, [message], [state.fileno()])
            self._qmp_answer("getfd", seconds)
            self.qmp("migrate", uri="fd:state")
            deadline = time.monotonic() + seconds
            while (status := self.qmp("query-migrate").get("status")) != "completed":
                if status in ("failed", "cancelled") or time.monotonic() > deadline:
                    raise VmGone(f"saving the VM's state: {status}")
                self.pump(0.02)
        self._save_ram(folder / "ram")

    def _save_ram(self, path: Path) -> None:
        size, zeros = self.machine.memory_mb << 20, bytes(RAM_BLOCK)
        with open(path, "wb", buffering=0) as ram:
            ram.truncate(size)
            for start in range(0, size, RAM_BLOCK):
                block = os.pread(self._ram, RAM_BLOCK, start)
                if block != zeros:
                    ram.seek(start)
                    ram.write(block)

    def abandon(self) -> None:
        """Makes whoever waits for this VM, in whatever thread, get VmGone."""
        self._process.kill()

    def kill(self) -> str:
        """Ends the VM; returns what QEMU itself complained about. Again does no harm."""
        if self._window.closed:
            return ""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            while data := self._stderr.recv(65536):
                self._on_stderr(data)
        self._selector.close()
        self._window.close()
        for name in ("console", "port", "shell", "qmp", "stderr"):
            getattr(self, f"_{name}").close()
        if self._ram >= 0:
            os.close(self._ram)
        return self._complaint.decode(errors="replace").strip()

    def __enter__(self) -> "Vm":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def boot(machine: Machine, seconds: float) -> Vm:
    """Starts a VM and waits until its PID 1 is ready."""
    vm = Vm(machine)
    try:
        while vm.line(seconds, "sign of life from PID 1") != "@ready":
            pass
    except VmGone as gone:
        tail = vm.log_lines()[-12:]
        complaint = vm.kill()
        raise VmGone("\n".join([str(gone), complaint, *tail]).strip()) from None
    return vm
