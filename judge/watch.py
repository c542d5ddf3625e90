"""make lab3 watch: tests the source again at every save, on one screen.

The kernel's inotify tells of a save at once. It is silent on some mounts (those of Windows
under WSL, network file systems), so the content is looked at now and then, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import select
import shutil
import sys
import time
from typing import Callable, Iterator

from . import record
from .build import Built, BuildFailed
from .stages import Stage
from .trial import Verdict

# How often the content is looked at where inotify is silent.
LOOK_SECONDS = 1.0
# From linux/inotify.h. Editors write in place, or write another file and rename it.
IN_CLOSE_WRITE, IN_MOVED_TO, IN_NONBLOCK, IN_CLOEXEC = 0x8, 0x80, 0o4000, 0o2000000

Tell = Callable[[str], None]
Changed = Callable[[], bool]
# Tests once: gets what to tell progress to, and what tells of a save; the verdict in lines.
TestOnce = Callable[[Tell, Changed], list[str]]


class Stale(Exception):
    """What is being tested was saved anew: nobody waits for its verdict."""


class Saves:
    """Waits until the content of a stage's sources changes."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.seen = record.digest(stage)
        self._fd = self._inotify()

    def _inotify(self) -> int:
        """A descriptor that is readable after a save; -1 where there is none to be had."""
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None, use_errno=True)
            fd = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
            folder = os.fsencode(self.stage.path.parent)
            if fd >= 0 and libc.inotify_add_watch(fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO) >= 0:
                return fd
            if fd >= 0:
                os.close(fd)
        return -1

    def changed(self) -> bool:
        """True once for each new content. A file that is away for a moment is no change."""
        if not self.stage.path.is_file():
            return False
        now = record.digest(self.stage)
        changed, self.seen = now != self.seen, now
        return changed

    def wait(self, seconds: float = LOOK_SECONDS) -> None:
        """Until a save, or until it is time to look."""
        if self._fd < 0:
            time.sleep(min(seconds, 0.25))
            return
        if select.select([self._fd], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 4096)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Screen:
    """A terminal's screen of its own, given back as it was; without a terminal just lines."""

    def __init__(self, title: str):
        self.title = title
        self.out = sys.stdout
        self.terminal = self.out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.status = ""
        self.verdict: list[str] = []
        self._size = shutil.get_terminal_size()

    def __enter__(self) -> "Screen":
        if self.terminal:
            self._write("\033[?1049h\033[?25l\033[2J")
        return self

    def __exit__(self, *_: object) -> None:
        if self.terminal:
            self._write("\033[?25h\033[?1049l")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()

    def resized(self) -> bool:
        before, self._size = self._size, shutil.get_terminal_size()
        return self.terminal and before != self._size

    def tell(self, status: str) -> None:
        """The second line; the last verdict stays below it."""
        self.status = status
        if self.terminal:
            self._write(f"\033[2;1H{status[: self._size.columns]}\033[K")

    def show(self, verdict: list[str]) -> None:
        self.verdict = verdict
        self.draw()

    def draw(self) -> None:
        if not self.terminal:
            self._write("\n".join([self.title, *self.verdict, "", ""]))
            return
        rows = [self.title, self.status, "", *self.verdict]
        # A row that wraps would push the others out.
        rows = [row[: self._size.columns] for row in rows]
        if len(rows) > self._size.lines:
            rows = [*rows[: self._size.lines - 1], "..."]
        self._write("\033[H" + "\033[K\n".join(rows) + "\033[K\033[J")


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """What others print meanwhile would tear the screen."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        yield said


def run(stage: Stage, test_once: TestOnce) -> int:
    saves = Saves(stage)
    screen = Screen(f"{stage.name}: {stage.shown}")
    try:
        with screen:
            _loop(saves, screen, test_once)
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        saves.close()
    # The terminal shows again what was there before: leave the last word on it.
    if screen.terminal:
        print("\n".join([screen.title, *screen.verdict]))
    return 0


def _loop(saves: Saves, screen: Screen, test_once: TestOnce) -> None:
    screen.show(["not tested yet"])
    while True:
        screen.tell("testing ...")
        try:
            with _quiet():
                verdict = test_once(screen.tell, saves.changed)
        except Stale:
            continue
        screen.status = f"tested at {time.strftime('%H:%M:%S')}; the next save tests again, " \
                        "Ctrl-C ends"  # fmt: skip
        screen.show(verdict)
        while not saves.changed():
            saves.wait()
            if screen.resized():
                screen.draw()


def tester(
    judge: Callable[[Callable[[], Built | None], Callable[[Verdict, Built], None]],
                    tuple[list[Verdict], Built | None]],
    build: Callable[[], Built],
    count: int,
    lines_of: Callable[[list[Verdict], Built], list[str]],
) -> TestOnce:  # fmt: skip
    """One test from the outside: what to build, how to judge it, how it looks."""

    def once(tell: Tell, changed: Changed) -> list[str]:
        failed: list[str] = []
        done, stale = 0, False

        def get() -> Built | None:
            tell("compiling ...")
            try:
                return build()
            except BuildFailed as error:
                failed.append(str(error))
                return None

        def on_verdict(verdict: Verdict, built: Built) -> None:
            nonlocal done, stale
            done += 1
            stale = stale or changed()  # changed() says so once only
            if stale:
                raise Stale
            tell(f"testing: {min(done, count)} of {count}")

        start = time.monotonic()
        verdicts, built = judge(get, on_verdict)
        if not built:
            return ["It does not compile:", "", *"".join(failed).splitlines()]
        passed = sum(verdict.passed for verdict in verdicts)
        return [f"{passed} of {len(verdicts)} behaviours hold ({time.monotonic() - start:.1f} s)",
                *lines_of(verdicts, built)]  # fmt: skip

    return once
