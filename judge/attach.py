"""A second terminal for the VM of `make lab3 shell`: the kernel's log, or a debugger.

The shell's process owns the VM. While it runs it listens on a socket in a folder of its
own; a note in the cache says where. `make lab3 dmesg` and `make lab3 gdb` ask there:

  dmesg   the kernel's log so far, then each new line, until one side leaves
  gdb     QEMU's gdbstub is opened; the answer says where, and where the module lies
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import cache, tools
from .build import Built
from .errors import CannotTest, UsageError
from .stages import Stage, shown
from .text import printable
from .vm import Vm

WAIT_SECONDS = 15
# Sections that hold what a debugger asks for.
SECTIONS = (".text", ".init.text", ".exit.text", ".rodata", ".data", ".bss")


def _note(stage: Stage) -> Path:
    return cache.root() / f"shell-of-{stage.name}"


# -- the shell's side -------------------------------------------------------------------


@dataclass
class Offer:
    """What the shell's process does for others, beside its own work."""

    stage: Stage
    built: Built
    vm: Vm
    _followers: list[socket.socket] = field(default_factory=list)
    _sent: int = 0  # bytes of the console
    _said: list[str] = field(default_factory=list)  # by the program that PID 1 runs for us
    _then: Callable[[], None] | None = None  # once that program has ended
    _gdb: str = ""

    def __enter__(self) -> "Offer":
        self._folder = Path(tempfile.mkdtemp(prefix="kmsgpipe-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / "socket"))
        self._listener.listen()
        cache.write_atomic(_note(self.stage), str(self._folder))
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            if _note(self.stage).read_text() == str(self._folder):
                _note(self.stage).unlink()
        for one in (self._listener, *self._followers):
            one.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> None:
        """Somebody asks; one question is answered at a time."""
        client, _ = self._listener.accept()
        client.settimeout(1)
        try:
            question = client.recv(16).decode().strip()
        except OSError:
            question = ""
        if question == "dmesg":
            self._ask("/bin/dmesg", lambda: self._follow(client))
        elif question == "gdb":
            folder = f"/sys/module/{self.stage.module}/sections"
            self._ask(f"/bin/grep -r 0x {folder}", lambda: self._debug(client))
        else:
            client.close()

    def _ask(self, command: str, then: Callable[[], None]) -> None:
        self._said, self._then = [], then
        self.vm.command("run", "0", *command.split())

    def line(self, line: str) -> None:
        """A line of the program that runs for us, or its end."""
        if line.startswith(("@exit", "@error")):
            then, self._then = self._then, None
            if then:
                then()
        elif not line.startswith("@"):  # @ok: of a resize
            self._said.append(line)

    def _follow(self, client: socket.socket) -> None:
        self._sent = len(self.vm.log)
        self._give(client, "".join(f"{line}\n" for line in self._said).encode())
        self._followers.append(client)
        # From now on all of it goes to the console, not only warnings.
        self.vm.command("run", "0", "/bin/dmesg", "-n", "8")

    def pass_on(self) -> None:
        """What has come on the console goes to those who follow it."""
        new = bytes(self.vm.log[self._sent :])
        # Whole lines only, as a terminal obeys what a module prints: see text.py.
        new = new[: new.rfind(b"\n") + 1]
        if not new:
            return
        self._sent += len(new)
        for client in list(self._followers):
            if not self._give(client, printable(new.replace(b"\r", b"")).encode()):
                self._followers.remove(client)

    def _give(self, client: socket.socket, data: bytes) -> bool:
        try:
            client.sendall(data)
            return True
        except OSError:
            client.close()
            return False

    def _debug(self, client: socket.socket) -> None:
        found = dict(_section(line) for line in self._said if ":0x" in line)
        answer = {"error": f"{self.stage.module} is not loaded in the shell's VM"}
        if found:
            answer = {"sections": found, "module": str(self.built.module),
                      "socket": self._gdbstub()}  # fmt: skip
        self._give(client, json.dumps(answer).encode() + b"\n")
        client.close()

    def _gdbstub(self) -> str:
        if not self._gdb:
            path = str(self._folder / "gdb")
            self.vm.qmp("human-monitor-command",
                        **{"command-line": f"gdbserver unix:{path},server=on,wait=off"})  # fmt: skip
            self._gdb = path
        return self._gdb


def _section(line: str) -> tuple[str, str]:
    path, _, address = line.rpartition(":")
    return path.rpartition("/")[2], address


# -- the second terminal's side ---------------------------------------------------------


def _ask(stage: Stage, question: str) -> socket.socket:
    none = UsageError(
        f"no shell of {stage.name} runs; type `make {stage.name} shell` in another terminal first"
    )
    try:
        folder = _note(stage).read_text()
    except FileNotFoundError:
        raise none from None
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(f"{folder}/socket")
    except OSError:
        client.close()
        raise none from None
    client.sendall(question.encode())
    return client


def dmesg(stage: Stage) -> int:
    """Prints the kernel's log, and follows it until Ctrl-C or the end of the VM."""
    with _ask(stage, "dmesg") as client:
        with contextlib.suppress(KeyboardInterrupt, OSError):
            while data := client.recv(65536):
                os.write(1, data)
    return 0


def gdb_command(stage: Stage, answer: dict, debugger: str) -> list[str]:
    """gdb with the module's symbols where the module lies, and the student's source."""
    sections = answer["sections"]
    module = Path(answer["module"])
    add = f"add-symbol-file {module} {sections['.text']}"
    for name in SECTIONS[1:]:
        if name in sections:
            add += f" -s {name} {sections[name]}"
    return [
        debugger, "-q",
        "-ex", "set confirm off",
        "-ex", "set pagination off",
        "-ex", "set filename-display basename",
        # gdb knows the copy that was compiled; show the file that one edits.
        "-ex", f"set substitute-path {module.parent} {stage.path.parent}",
        "-ex", add,
        "-ex", f"target remote {answer['socket']}",
    ]  # fmt: skip


def gdb(stage: Stage) -> int:
    debugger = os.environ.get("GDB") or "gdb"
    if not shutil.which(debugger):
        tools.need([tools.Tool("gdb", "gdb", "the debugger", "gdb")])
    with _ask(stage, "gdb") as client:
        client.settimeout(WAIT_SECONDS)
        try:
            text = client.makefile().readline()
        except OSError:
            raise CannotTest("the VM does not answer: does another debugger hold it?") from None
    answer = json.loads(text or '{"error": "the VM has ended"}')
    if "error" in answer:
        raise CannotTest(f"{answer['error']}; see `make {stage.name} shell`")
    print(f"{stage.name}: {shown(stage.path)}; the VM stands still until you say continue\n"
          "  break kmsgpipe_write    then continue, and call it in the shell's terminal\n"
          "  bt, list, next, print   as in any program; Ctrl-C stops the kernel anywhere\n"
          "  quit                    lets the VM go on\n")  # fmt: skip
    command = gdb_command(stage, answer, debugger)
    # In our place: Ctrl-C is for it alone.
    os.execvp(command[0], command)

