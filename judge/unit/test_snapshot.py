"""Saved VMs: one that is damaged or does not answer is made again, once, and never used."""

from __future__ import annotations

import io
import json
import os
import tempfile
import unittest
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from unittest import mock

from judge import arch, cache, snapshot
from judge.errors import CannotTest
from judge.vm import Machine, VmGone


class FakeVm:
    """Saves the word "state"; a resumed one answers as the class attributes say."""

    boots = 0
    made: list["FakeVm"] = []
    answers: list = []  # of each resumed VM in turn: None for the right one

    def __init__(self, machine, restore=None):
        self.killed = 0
        self.state = (restore / "state").read_text() if restore else "state"
        FakeVm.made.append(self)

    def save(self, folder: Path) -> None:
        (folder / "state").write_text(f"state {FakeVm.boots}")
        (folder / "ram").write_bytes(bytes(snapshot.CHUNK) + b"code" + bytes(snapshot.CHUNK))

    def wait_resumed(self, seconds: float) -> None:
        if FakeVm.answers and FakeVm.answers[0] == "silence":
            FakeVm.answers.pop(0)
            raise VmGone("the VM does not run")

    def ask(self, *words: str, seconds: float) -> str:
        answer = FakeVm.answers.pop(0) if FakeVm.answers else None
        return answer or f"@hello {words[2]}"

    def abandon(self) -> None:
        pass

    def kill(self) -> str:
        self.killed += 1
        return ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def boot(machine, seconds):
    FakeVm.boots += 1
    return FakeVm(machine)


class Resuming(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        FakeVm.boots, FakeVm.made, FakeVm.answers = 0, [], []
        for name in ("image", "initrd"):
            (folder / name).write_text(name)
        self.machine = Machine(arch.ARCHS[0], "tcg", folder / "image", folder / "initrd")
        for patch in (mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": str(folder / "cache")}),
                      mock.patch.object(snapshot, "Vm", FakeVm),
                      mock.patch.object(snapshot, "boot", boot),
                      mock.patch.object(snapshot, "_qemu_version", lambda qemu: "QEMU 1")):
            patch.start()
            self.addCleanup(patch.stop)

    def resume(self) -> FakeVm:
        with redirect_stdout(io.StringIO()) as self.said, \
             snapshot.Resuming(self.machine) as resuming:  # fmt: skip
            return resuming.ready()

    def folder(self) -> Path:
        return next(cache.root().glob("snapshot-*"))

    def test_booted_once(self) -> None:
        for _ in range(3):
            self.assertEqual(self.resume().state, "state 1")
        self.assertEqual(FakeVm.boots, 1)

    def test_damage_leads_to_another(self) -> None:
        def cut(path: Path) -> None:
            path.write_bytes(path.read_bytes()[:-1])

        about = {"[]": "about.json", "": "about.json", "{}": "about.json",
                 '{"sha256": ""}': "about.json", "state X": "state", "code": "ram"}  # fmt: skip
        for count, (text, name) in enumerate(about.items(), 2):
            with self.subTest(name=name, text=text):
                self.resume()
                (self.folder() / name).write_text(text)
                FakeVm.made.clear()
                self.assertEqual(self.resume().state, f"state {count}")
                self.assertIn("making it again", self.said.getvalue())
                self.assertTrue(FakeVm.made[0].killed, "the damaged one")
        cut(self.folder() / "state")
        self.assertEqual(self.resume().state, f"state {count + 1}")
        (self.folder() / "about.json").unlink()
        self.assertEqual(self.resume().state, f"state {count + 2}")

    def test_wrong_answer(self) -> None:
        for answer in ("@hello 0", "@ok", "silence"):
            FakeVm.answers = [answer]
            before = FakeVm.boots
            self.resume()
            self.assertGreater(FakeVm.boots, max(before, 1))

    def test_twice_is_enough(self) -> None:
        FakeVm.answers = ["silence", "silence"]
        with self.assertRaisesRegex(CannotTest, "does not resume"):
            self.resume()
        self.assertEqual(FakeVm.boots, 2)
        self.assertTrue(all(vm.killed for vm in FakeVm.made))

    def test_another_one_made_meanwhile_is_left_alone(self) -> None:
        self.resume()
        with redirect_stdout(io.StringIO()):
            one, other = snapshot.Resuming(self.machine), snapshot.Resuming(self.machine)
            FakeVm.answers = ["@ok", None, "@ok"]
            self.assertEqual(one.ready().state, "state 2")
            self.assertEqual(other.ready().state, "state 2")
            one.close()
            other.close()
        self.assertEqual(list(cache.root().glob(f"{cache.MAKING}*")), [])

    def test_key(self) -> None:
        keys = {snapshot._key(self.machine)}
        for change in ({"options": ("x",)}, {"cpus": 4}, {"memory_mb": 512}, {"accel": "kvm"}):
            keys.add(snapshot._key(replace(self.machine, **change)))
        self.machine.image.write_text("another")
        keys.add(snapshot._key(self.machine))
        with mock.patch.object(snapshot, "_qemu_version", lambda qemu: "QEMU 2"):
            keys.add(snapshot._key(self.machine))
        self.assertEqual(len(keys), 7)

    def test_about_tells_the_sum(self) -> None:
        self.resume()
        about = json.loads((self.folder() / "about.json").read_text())
        self.assertEqual(about["sha256"], snapshot._checksum(self.folder()))

    def test_the_sum_is_computed_once_until_a_file_is_touched(self) -> None:
        self.resume()
        folder = self.folder()
        with mock.patch.object(snapshot, "_checksum", wraps=snapshot._checksum) as summed:
            self.resume()  # just made: its times tell nothing yet
            self.assertEqual(summed.call_count, 1)
            with mock.patch.object(snapshot, "SETTLED_NS", 0):
                for _ in range(3):
                    self.resume()
                self.assertEqual(summed.call_count, 2)
                text = (folder / "state").read_text()
                os.utime(folder / "ram")
                (folder / "state").write_text(text[:-1] + "X")
                self.assertEqual(self.resume().state, "state 2")
            self.assertIn("its checksum is wrong", self.said.getvalue())

    def test_abandoned_it_is_not_made_again(self) -> None:
        self.resume()
        FakeVm.answers = ["silence"]
        with redirect_stdout(io.StringIO()), snapshot.Resuming(self.machine) as resuming:
            resuming.abandon()
            with self.assertRaises(VmGone):
                resuming.ready()
        self.assertEqual(FakeVm.boots, 1)

    def test_sum_knows_where_something_stands_between_zeros(self) -> None:
        chunk = snapshot.CHUNK
        sums = set()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "state").write_text("state")
            for at in (0, 1, chunk, 3 * chunk):
                (folder / "ram").write_bytes(bytes(at) + b"x" + bytes(4 * chunk - at - 1))
                sums.add(snapshot._checksum(folder))
        self.assertEqual(len(sums), 4)


if __name__ == "__main__":
    unittest.main()
