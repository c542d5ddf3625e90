"""vm.py: files out of a guest, piece by piece; its console; where its virtual CPUs run."""

from __future__ import annotations

import os
import selectors
import unittest
from types import SimpleNamespace
from unittest import mock

from judge import vm


class Guest(vm.Vm):
    """Answers as PID 1 does, without a machine."""

    def __init__(self, content: bytes, piece: int):
        self.content, self.piece = content, piece

    def ask(self, *words: str, seconds: float = 10) -> str:
        assert words[:2] == ("get", "/file")
        start = int(words[2])
        return f"@got {self.content[start : start + self.piece].hex()}"


class Get(unittest.TestCase):
    def test_all_pieces_in_their_order(self) -> None:
        content = bytes(range(256)) * 5
        for piece in (1, 7, 1024, 1280, 4096):
            self.assertEqual(Guest(content, piece).get("/file"), content)

    def test_an_empty_file(self) -> None:
        self.assertEqual(Guest(b"", 1024).get("/file"), b"")

    def test_a_file_without_end(self) -> None:
        with self.assertRaises(vm.VmGone):
            Guest(b"x" * 5000, 10).get("/file", 100)


class Console(unittest.TestCase):
    def test_nothing_is_lost_while_nobody_reads(self) -> None:
        machine = vm.Vm.__new__(vm.Vm)
        machine.log, machine.log_overflow, machine._open = bytearray(), False, 0
        machine._selector = selectors.DefaultSelector()
        qemus = machine._listen_to_console()
        self.addCleanup(machine._selector.close)
        self.addCleanup(machine._console.close)
        os.set_blocking(qemus, False)  # as QEMU has it, which drops what it cannot write
        marks = b"[   27.370123] judge: begin some_test\n" * 100
        for byte in marks:
            os.write(qemus, bytes([byte]))
        os.close(qemus)
        while machine._open:
            machine.pump(1)
        self.assertEqual(machine.log, marks)


class Apart(unittest.TestCase):
    def spread(self, virtual: int, host: int) -> list[set[int]]:
        """On which of the host's CPUs each virtual one may run; none: wherever it likes."""
        machine = vm.Vm.__new__(vm.Vm)
        machine.machine = SimpleNamespace(cpus=virtual)
        machine.qmp = lambda command: [{"thread-id": 70 + n} for n in range(virtual)]
        allowed: dict[int, set[int]] = {}
        with mock.patch("os.sched_getaffinity", lambda _: set(range(host))), \
             mock.patch("os.sched_setaffinity", lambda thread, to: allowed.update({thread: to})):
            machine._keep_apart()
        return [set(allowed.get(70 + n, ())) for n in range(virtual)]

    def test_no_two_share_one(self) -> None:
        self.assertEqual(self.spread(2, 2), [{0}, {1}])
        self.assertEqual(self.spread(2, 5), [{0, 2, 4}, {1, 3}])

    def test_a_host_with_too_few(self) -> None:
        self.assertEqual(self.spread(2, 1), [{0}, set()])


if __name__ == "__main__":
    unittest.main()
