"""One QEMU process: start it, talk to it, end it.

Three channels lead into a VM. All are socket pairs made here, so that nothing is
left in the file system and nobody else can connect:

  console   the kernel's log, guest to host only
  port      the guest's PID 1 (guest/init.c): commands, and the results of tests
  shell     an interactive bash, for demos, transcripts and `make lab3 shell`

Files go in and out through a piece of memory that both sides see (QEMU's ivshmem): a serial
line takes a second for 30 kB, and a disk would need a driver that kernels lack.

QEMU runs under setpriv --pdeathsig: it dies with us, whatever ends us.
"""

from __future__ import annotations

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
from typing import Callable, Sequence

from .arch import Arch
from .errors import CannotTest
from .text import printable

# A log that grows beyond this is a flood; what is kept is enough to see why.
LOG_LIMIT = 2 << 20
# Nothing sensible sends longer lines; the rest of such a line is dropped.
LINE_LIMIT = 64 << 10
# The memory that host and guest share; a PCI device's, so a power of two.
WINDOW = 4 << 20
# A file in the guest may grow while it is read, and never end.
MOST_BYTES = 64 << 20

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

    def command(self) -> list[str]:
        cpu = self.arch.kvm_cpu if self.accel == "kvm" else self.arch.tcg_cpu
        accel = "kvm" if self.accel == "kvm" else "tcg,thread=multi"
        append = [
            f"console={self.arch.console}", *self.options,
            *(self.arch.tcg_options if self.accel == "tcg" else ()),
            f"JUDGE_PORT={self.arch.control}", f"SHELL_PORT={self.arch.shell}",
        ]  # fmt: skip
        return [
            self.arch.qemu, "-accel", accel, *self.arch.machine, "-cpu", cpu,
            "-smp", str(self.cpus), "-m", str(self.memory_mb),
            # Named first, it is the first block of QEMU's memory. QEMU 10.0 aborts when it saves a
            # VM in which another block is, and is smaller: our window was.
            "-object", f"memory-backend-ram,id=ram,size={self.memory_mb}M",
            "-machine", "memory-backend=ram",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-kernel", str(self.image), "-initrd", str(self.initrd), "-append", " ".join(append),
        ]  # fmt: skip


class Vm:
    """A running VM. Every wait has a deadline; use it as a context manager."""

    def __init__(self, machine: Machine, restore: Path | None = None):
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
        self._start(restore)

    def _start(self, restore: Path | None) -> None:
        fds: list[int] = []
        args = ["setpriv", "--pdeathsig", "KILL", *self.machine.command()]
        theirs = []
        for name, device in (
            ("console", ["-serial", "chardev:console"]),
            ("port", ["-serial", "chardev:port"]),
            ("shell", ["-device", "pci-serial,chardev=shell"]),
            ("qmp", ["-mon", "chardev=qmp,mode=control"]),
        ):
            ours, other = socket.socketpair()
            ours.setblocking(False)
            setattr(self, f"_{name}", ours)
            self._selector.register(ours, selectors.EVENT_READ, getattr(self, f"_on_{name}"))
            self._open += 1
            theirs.append(other)
            fds.append(other.fileno())
            args += ["-chardev", f"socket,id={name},fd={other.fileno()}", *device]
        if restore:
            state = open(restore, "rb")
            theirs.append(state)
            fds.append(state.fileno())
            args += ["-incoming", f"fd:{state.fileno()}"]
        window = os.memfd_create("window")
        os.ftruncate(window, WINDOW)
        self._window = mmap.mmap(window, WINDOW)
        fds.append(window)
        args += [
            "-object", f"memory-backend-file,id=window,share=on,size={WINDOW},"
            f"mem-path=/proc/self/fd/{window}",
            # Without "master" QEMU refuses to save a VM that has the device.
            "-device", "ivshmem-plain,memdev=window,master=on",
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                args, pass_fds=fds, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                # Ctrl-C is for us: we end the VM, and say so.
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise CannotTest(f"cannot start {error.filename}; `make doctor` tells more") from None
        finally:
            for end in theirs:
                end.close()
            os.close(window)

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

    def log_lines(self, start: int = 0) -> list[str]:
        """The console's lines from that one on; the last may be on its way still: left out."""
        return [printable(line.rstrip(b"\r")) for line in bytes(self.log).split(b"\n")[start:-1]]

    def pump(self, timeout: float) -> None:
        """Reads whatever has arrived, waiting at most timeout seconds for it."""
        if not self._open:
            raise VmGone("the VM ended")
        for key, _ in self._selector.select(max(0.0, timeout)):
            try:
                data = key.fileobj.recv(65536)
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

    def _send(self, channel: socket.socket, data: bytes, seconds: float = 10) -> None:
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

    def ask(self, *words: str, seconds: float = 10) -> str:
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

    def get(self, path: str, most: int = MOST_BYTES) -> bytes:
        """Reads a file of the guest."""
        data = b""
        while True:
            size, crc = self.ask("get", path, str(len(data))).split()[1:]
            chunk = self._window[: int(size)]
            if f"{zlib.crc32(chunk):08x}" != crc:
                raise VmGone(f"get: {path} was damaged on its way")
            data += chunk
            if len(chunk) < WINDOW:
                return data
            if len(data) > most:
                raise VmGone(f"get: {path} has more than {most} bytes")

    # -- the interactive shell ------------------------------------------------------

    def type(self, data: bytes) -> None:
        self._send(self._shell, data)

    def shell_socket(self) -> socket.socket:
        return self._shell

    # -- QEMU itself ----------------------------------------------------------------

    def qmp(self, command: str, seconds: float = 30, **arguments: object) -> dict:
        message = {"execute": command, "arguments": arguments}
        self._send(self._qmp, json.dumps(message).encode() + b"\n")
        while True:
            self.wait(lambda: bool(self._qmp_lines), seconds, f"QMP answer to {command}")
            answer = self._qmp_lines.popleft()
            if "error" in answer:
                raise VmGone(f"QMP {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]

    def wait_resumed(self, seconds: float) -> None:
        """Until a restored VM runs. What is typed before that is lost with its old state."""
        deadline = time.monotonic() + seconds
        self.qmp("qmp_capabilities", seconds)
        while self.qmp("query-status", seconds)["status"] != "running":
            if time.monotonic() > deadline:
                raise VmGone(f"the VM does not run within {seconds:.0f} s")
            self.pump(0.01)

    def save(self, path: Path, seconds: float = 60) -> None:
        """Saves the VM's state to a file. The VM stays paused after that."""
        self.qmp("qmp_capabilities")
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        with open(path, "wb") as state:
            # QEMU's end of this descriptor travels over the monitor's socket.
            message = b'{"execute": "getfd", "arguments": {"fdname": "state"}}\n'
            socket.send_fds(self._qmp, [message], [state.fileno()])
            self.wait(lambda: bool(self._qmp_lines), seconds, "QMP answer to getfd")
            answer = self._qmp_lines.popleft()
            if "error" in answer:
                raise VmGone(f"QMP getfd: {answer['error'].get('desc')}")
            self.qmp("migrate", uri="fd:state")
            deadline = time.monotonic() + seconds
            while True:
                status = self.qmp("query-migrate").get("status")
                if status == "completed":
                    return
                if status in ("failed", "cancelled") or time.monotonic() > deadline:
                    raise VmGone(f"saving the VM's state: {status}")
                self.pump(0.02)

    def abandon(self) -> None:
        """Makes whoever waits for this VM, in whatever thread, get VmGone."""
        self._process.kill()

    def kill(self) -> str:
        """Ends the VM; returns what QEMU itself complained about. Again does no harm."""
        if self._process.stderr.closed:
            return ""
        self._process.kill()
        _, complaint = self._process.communicate()
        self._selector.close()
        self._window.close()
        for name in ("console", "port", "shell", "qmp"):
            getattr(self, f"_{name}").close()
        return complaint.decode(errors="replace").strip()

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
