"""make lab3 shell: the person's terminal, connected to the bash in the VM.

On a terminal every key goes to the VM as it is, Ctrl-C included; Ctrl-] alone is
ours, so that one can leave a VM that answers no more. The terminal is given
back as it was, however this ends (but for SIGKILL, which nobody can catch).

Otherwise the lines of standard input are typed one after another, as in
`echo 'dmesg | tail' | make lab3 shell`, and what they print is printed.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import tty
from pathlib import Path
from typing import Iterator

from . import attach, lab, strace
from .build import Built
from .session import STUDENT, Session
from .stages import TREE, Stage
from .vm import Vm, VmGone

LEAVE = b"\x1d"
# Where descriptions of terminals lie: without one, bash cannot edit lines.
TERMINFO = ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo")
ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def run(stage: Stage, built: Built, vm: Vm) -> int:
    """The shell of one stage; the exit status is the last command's if a pipe gave them."""
    by_hand = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        lab.bring(vm, stage, built)
        if without := strace.bring(vm):
            print(without)
        return _by_hand(stage, built, vm) if by_hand else _from_pipe(stage, vm)
    except lab.LoadFailed as failed:
        print(f"{stage.name}: the module does not load: {failed}")
    except VmGone as gone:
        print(f"\n{stage.name}: the shell is over: {lab.trouble(vm, stage, gone)}")
    return 1


# -- from a pipe ------------------------------------------------------------------------


def _from_pipe(stage: Stage, vm: Vm) -> int:
    session = Session(vm)
    lab.load(vm, stage)
    status = 0
    incomplete = False
    for line in sys.stdin:
        done = session.run(line.rstrip("\n"))
        sys.stdout.write(done.output)
        sys.stdout.flush()
        incomplete = done.incomplete
        status = done.status or 0
        if done.ended:
            return status
    if incomplete:
        raise VmGone("the last command is not whole")
    wrong = lab.trouble(vm, stage)
    if wrong:
        raise VmGone(wrong)
    return status


# -- by hand ----------------------------------------------------------------------------


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """The terminal in raw mode, and back; also when we are told to end."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = termios.tcgetattr(fd)
    handlers = {number: signal.signal(number, end) for number in ENDINGS}
    try:
        tty.setraw(fd)
        yield
    finally:
        # Not TCSAFLUSH: what was typed ahead belongs to the person's own shell.
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


class _Resized:
    """Tells whether the window has changed since it was last asked."""

    def __init__(self) -> None:
        self._changed = False
        signal.signal(signal.SIGWINCH, self._note)

    def _note(self, *_: object) -> None:
        self._changed = True

    def take(self) -> bool:
        changed, self._changed = self._changed, False
        return changed


def _size() -> tuple[str, str]:
    size = os.get_terminal_size(sys.stdin.fileno())
    return str(size.lines or 24), str(size.columns or 80)


def _terminal(vm: Vm) -> list[str]:
    """Describes the terminal to the VM; an empty list if nothing here describes it."""
    name = os.environ.get("TERM", "")
    if re.fullmatch(r"[a-z][\w.+-]*", name):
        for place in TERMINFO:
            entry = Path(place, name[0], name)
            if entry.is_file():
                vm.put(f"/etc/terminfo/{name[0]}/{name}", entry.read_bytes())
                return [name]
    return []


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _by_hand(stage: Stage, built: Built, vm: Vm) -> int:
    vm.put("/etc/bashrc", (TREE / "guest/bashrc").read_bytes())
    # Loaded before the first prompt, but after the session has emptied the log.
    vm.ask("session", STUDENT, *_size(), *_terminal(vm))
    lab.load(vm, stage)
    print(f"{stage.module} is loaded in the VM. Ctrl-D or exit leaves; Ctrl-] always does.\n"
          f"In another terminal: make {stage.name} dmesg follows the kernel's log, "
          f"make {stage.name} gdb\nattaches a debugger.")  # fmt: skip
    sys.stdout.flush()
    with attach.Offer(stage, built, vm) as offer, _raw(sys.stdin.fileno()):
        left = _connect(vm, offer)
    print(f"\n{stage.name}: {left}")
    return 0


def _connect(vm: Vm, offer: attach.Offer) -> str:
    """Carries bytes both ways until one side leaves; says in words who did."""
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    resized = _Resized()
    while True:
        if vm.shell_out:
            data = bytes(vm.shell_out)
            vm.shell_out.clear()
            _write_all(stdout, data)
        while vm.has_line():
            line = vm.line(1)
            if line.startswith("@session-exit"):
                return "the VM has ended"
            offer.line(line)
        offer.pass_on()
        if resized.take():
            vm.command("resize", *_size())
        # A signal does not interrupt select() for good: look at the size now and then.
        ready, _, _ = select.select([stdin, vm, offer], [], [], 0.5)
        # Also when nothing came: this is how we hear that the VM ended.
        vm.pump(0)
        if offer in ready:
            offer.accept()
        if stdin in ready:
            typed = os.read(stdin, 4096)
            if not typed or LEAVE in typed:
                return "left by Ctrl-]; the VM has ended" if typed else "the terminal is gone"
            vm.type(typed)
