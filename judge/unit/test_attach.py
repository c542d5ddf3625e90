"""A second terminal for the VM of a shell: found, answered, and left tidy. Without a VM."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from judge import attach
from judge.build import Built
from judge.errors import CannotTest, UsageError
from judge.stages import BY_NAME

STAGE = BY_NAME["lab3"]
BUILT = Built(Path("/cache/build/1/lab3_wait/kmsgpipe_wait.ko"), b"", "")


class FakeVm:
    """Answers what it is asked, as PID 1 would."""

    def __init__(self, **said: list[str]) -> None:
        self.said = said
        self.log = bytearray(b"boot\n")
        self.asked: list[str] = []

    def command(self, *words: str) -> None:
        self.asked.append(" ".join(words))

    def qmp(self, command: str, **arguments: object) -> dict:
        self.asked.append(str(arguments.get("command-line")))
        return {}


class Attach(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        patch = mock.patch.dict(os.environ, KMSGPIPE_CACHE=f"{scratch.name}/cache")
        patch.start()
        self.addCleanup(patch.stop)
        self.vm = FakeVm()

    def ask(self, question: str, said: list[str]) -> socket.socket:
        client = attach._ask(STAGE, question)
        self.addCleanup(client.close)
        self.offer.accept()
        for line in said:
            self.offer.line(line)
        return client

    @contextlib.contextmanager
    def shell(self):
        with attach.Offer(STAGE, BUILT, self.vm) as self.offer:
            yield

    def test_no_shell_runs(self) -> None:
        for verb in (attach.dmesg, attach.gdb):
            with mock.patch("shutil.which", return_value="/usr/bin/gdb"), \
                 self.assertRaisesRegex(UsageError, "make lab3 shell"):  # fmt: skip
                verb(STAGE)

    def test_nothing_is_left(self) -> None:
        with self.shell():
            folder = Path(attach._note(STAGE).read_text())
            self.assertTrue(folder.is_dir())
        self.assertFalse(folder.exists())
        self.assertFalse(attach._note(STAGE).exists())

    def test_a_shell_that_was_killed(self) -> None:
        attach._note(STAGE).write_text("/nobody/is/here")
        with self.assertRaisesRegex(UsageError, "make lab3 shell"):
            attach.dmesg(STAGE)

    def test_the_log_so_far_and_then_what_comes(self) -> None:
        with self.shell():
            client = self.ask("dmesg", ["[1.0] loaded", "@ok", "@exit 0"])
            self.assertEqual(client.recv(100), b"[1.0] loaded\n")
            self.assertEqual(self.vm.asked[-1], "run 0 /bin/dmesg -n 8")
            self.vm.log += b"[2.0] write\r\n[3.0] half"
            self.offer.pass_on()
            self.assertEqual(client.recv(100), b"[2.0] write\n")
            self.vm.log += b" \x1b[2J\n"
            self.offer.pass_on()
            self.assertEqual(client.recv(100), b"[3.0] half \\x1b[2J\n", "no escapes of a module")
            client.close()
            for _ in range(2):  # it has gone: no harm
                self.vm.log += b"more\n"
                self.offer.pass_on()

    def test_where_the_module_lies(self) -> None:
        folder = "/sys/module/kmsgpipe_wait/sections"
        with self.shell():
            client = self.ask("gdb", [f"{folder}/.text:0xffffffffc0201000",
                                      f"{folder}/.bss:0xffffffffc0203540", "@exit 0"])  # fmt: skip
            answer = json.loads(client.makefile().readline())
            self.assertEqual(answer["sections"][".text"], "0xffffffffc0201000")
            self.assertIn(f"gdbserver unix:{answer['socket']},server=on,wait=off", self.vm.asked)
            command = attach.gdb_command(STAGE, answer, "gdb")
        add = next(word for word in command if word.startswith("add-symbol-file"))
        self.assertEqual(add, f"add-symbol-file {BUILT.module} 0xffffffffc0201000 "
                              "-s .bss 0xffffffffc0203540")  # fmt: skip
        self.assertIn(f"set substitute-path {BUILT.module.parent} {STAGE.path.parent}", command)

    def test_a_module_that_is_not_loaded(self) -> None:
        with self.shell():
            def answer() -> None:
                self.offer.accept()
                self.offer.line("grep: /sys/module/...: No such file or directory")
                self.offer.line("@exit 2")

            thread = threading.Thread(target=answer)
            thread.start()
            with mock.patch("shutil.which", return_value="/usr/bin/gdb"), \
                 self.assertRaisesRegex(CannotTest, "not loaded"):  # fmt: skip
                attach.gdb(STAGE)
            thread.join()

    def test_odd_questions(self) -> None:
        with self.shell():
            self.assertEqual(self.ask("nonsense", []).recv(10), b"")
        self.assertEqual(self.vm.asked, [])


if __name__ == "__main__":
    unittest.main()
