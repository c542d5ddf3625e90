"""KVM or not: tried once for each kernel and boot, remembered, and never taken on trust."""

import os
import tempfile
import unittest
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from judge import accel
from judge.vm import Machine, VmGone


class Choose(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.kvm = Path(scratch.name) / "kvm"
        self.kvm.touch()
        for patch in (
            mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": scratch.name + "/cache"}),
            mock.patch.object(accel, "KVM", self.kvm),
            mock.patch.object(accel, "_boot_id", lambda: self.boot_id),
            mock.patch.object(accel, "boot", self.boot),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.boot_id = "first"
        self.boots: list[str] = []
        self.works = False

    def boot(self, machine: Machine, seconds: float) -> SimpleNamespace:
        self.boots.append(machine.accel)
        if not self.works:
            raise VmGone("no sign of life")
        return SimpleNamespace(kill=lambda: None)

    def choose(self, image: str = "one") -> str:
        with redirect_stdout(StringIO()):
            return accel.choose(Machine(None, "tcg", Path(image), Path("initrd")))[0]

    def test_a_device_node_proves_nothing(self) -> None:
        self.assertEqual(self.choose(), "tcg")
        self.assertEqual(self.boots, ["kvm"])

    def test_a_guest_that_boots_does(self) -> None:
        self.works = True
        self.assertEqual(self.choose(), "kvm")

    def test_the_answer_is_remembered_for_this_boot_and_kernel(self) -> None:
        self.choose(), self.choose(), self.choose("two"), self.choose()
        self.assertEqual(len(self.boots), 2)
        self.boot_id, self.works = "second", True
        self.assertEqual(self.choose(), "kvm")

    def test_without_the_device_nothing_is_tried(self) -> None:
        self.kvm.unlink()
        self.assertEqual(self.choose(), "tcg")
        self.assertEqual(self.boots, [])

    def test_known_never_boots(self) -> None:
        self.assertEqual(accel.known()[0], "unknown")
        self.choose()
        self.assertEqual(accel.known()[0], "tcg")
        self.assertEqual(len(self.boots), 1)

    def test_a_damaged_note_is_no_answer(self) -> None:
        self.choose()
        note = Path(os.environ["KMSGPIPE_CACHE"]) / "accel.json"
        for text in ("", "[]", '{"boot_id": "first"}', '{"boot_id": "first", "kernels": 3}'):
            note.write_text(text)
            self.assertEqual(accel.known()[0], "unknown")


if __name__ == "__main__":
    unittest.main()
