"""The bash in the VM, driven line by line: what is typed, and what a person would see then.

A prompt of our own tells where the answer to a line ends, and with which exit status.
It contains a random word, so that nothing a driver returns can be taken for it.

Nothing here waits for a time to pass. After each line the guest is asked to settle:
a job in the background that the line has woken prints before we look, and one that
the line has started sleeps in the driver before the next line is typed. Ctrl-C is
pressed once the command in the foreground sleeps in the driver.

Scripts of lines (demos, transcripts) may contain the line `^C`: press Ctrl-C
once the command of the line before it sleeps in the device. See step().
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from .text import printable
from .vm import Vm, VmGone

CTRL_C = "^C"
STUDENT = "1000"
HOME = "/home/student"
# A line that has not come back by then never will. Emulated machines are slow.
LINE_SECONDS = 30
# The guest gives up settling after 10 s of its own time.
SETTLE_SECONDS = 40

# The terminal neither shows what is typed, nor turns \n into \r\n, nor throws away
# output that is still on its way when Ctrl-C is pressed.
BASHRC = """\
PATH=/usr/local/bin:/bin:/sbin
unset HISTFILE
stty -echo -onlcr noflsh
PS1='{token}$?@' PS2='{token}more@'
"""


@dataclass(frozen=True)
class Done:
    """What came of a line. Without a status it has not come back yet, and need not."""

    output: str
    status: int | None = None
    incomplete: bool = False
    ended: bool = False


def split_prompts(data: bytes, token: bytes) -> tuple[bytes, list[str]]:
    """What was printed without our prompts, and what these say: an exit status or `more`."""
    prompt = re.compile(re.escape(token) + rb"(\d+|more)@")
    says = [match.decode() for match in prompt.findall(data)]
    return prompt.sub(b"", data).replace(b"\r\n", b"\n"), says


class Session:
    """A bash of the ordinary user, in its home directory."""

    def __init__(self, vm: Vm, rows: int = 24, cols: int = 80):
        self.vm = vm
        self._token = f"@kmsgpipe-{os.urandom(8).hex()}:"
        self._exit: int | None = None
        vm.put("/etc/bashrc", BASHRC.format(token=self._token).encode())
        vm.shell_out.clear()
        vm.ask("session", STUDENT, str(rows), str(cols))
        self._finish(LINE_SECONDS, settle=False)

    def run(self, line: str, seconds: float = LINE_SECONDS, settle: bool = True) -> Done:
        """Types a line and waits for the next prompt."""
        self.vm.type(line.encode() + b"\n")
        return self._finish(seconds, settle)

    def start(self, line: str) -> Done:
        """Types a line whose command is to fall asleep in the driver."""
        self.vm.type(line.encode() + b"\n")
        self.vm.command("asleep")
        self.vm.wait(lambda: self.vm.has_line() or self._prompts(), LINE_SECONDS, "sleeper")
        if self._prompts():
            raise VmGone("the command came back, where it was to sleep in the device")
        answer = self.vm.answer(LINE_SECONDS, "answer to asleep")
        if answer != "@ok":
            raise VmGone("the command neither came back nor slept in the device")
        self.vm.pump(0)
        return Done(self._take())

    def interrupt(self) -> Done:
        """Presses Ctrl-C."""
        self.vm.type(b"\x03")
        done = self._finish(LINE_SECONDS, settle=True)
        # bash ends the line on which a terminal would have shown ^C.
        return Done(done.output[done.output.startswith("\n") :], done.status)

    # -- how it is done --------------------------------------------------------------

    def _prompts(self) -> list[str]:
        return split_prompts(bytes(self.vm.shell_out), self._token.encode())[1]

    def _take(self) -> str:
        text, _ = split_prompts(bytes(self.vm.shell_out), self._token.encode())
        self.vm.shell_out.clear()
        return printable(text)

    def _ended(self) -> bool:
        while self._exit is None and self.vm.has_line():
            line = self.vm.line(1)
            if line.startswith("@session-exit "):
                self._exit = int(line.split()[1])
        return self._exit is not None

    def _finish(self, seconds: float, settle: bool) -> Done:
        self.vm.wait(lambda: bool(self._prompts()) or self._ended(), seconds, "prompt")
        if self._exit is not None:
            return Done(self._take(), self._exit, ended=True)
        if settle:
            # A job that never rests is no reason to stop: what it prints is its own matter.
            self.vm.command("settle")
            self.vm.answer(SETTLE_SECONDS, "answer to settle")
        self.vm.pump(0)
        says = self._prompts()[-1]
        if says == "more":
            return Done(self._take(), incomplete=True)
        return Done(self._take(), int(says))


def step(session: Session, line: str, following: str | None) -> Done:
    """Plays one line of a script; the one that follows tells whether it is to come back."""
    if line == CTRL_C:
        return session.interrupt()
    if following == CTRL_C:
        return session.start(line)
    done = session.run(line)
    if done.incomplete:
        raise VmGone("the line is no whole command")
    if done.ended:
        raise VmGone("the shell ended")
    return done
