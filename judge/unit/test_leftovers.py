"""What a run leaves behind is found: processes, also those without a parent, files, mounts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from judge import leftovers


class Leftovers(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.places = [Path(scratch.name) / name for name in ("tree", "cache", "temporary")]
        for place in self.places:
            place.mkdir()
        self.before = leftovers.Before(*self.places)

    def test_nothing(self) -> None:
        self.assertEqual(self.before.left(), [])

    def test_files(self) -> None:
        tree, cache, temporary = self.places
        (tree / "lab").mkdir()
        for path in (tree / "lab/x.o", cache / ".making.y", temporary / "cc1.s"):
            path.write_text("")
        self.assertEqual(self.before.left(), [f"file {path}" for path in (
            cache / ".making.y", temporary / "cc1.s", tree / "lab/x.o")])  # fmt: skip

    def test_what_may_stay(self) -> None:
        tree, cache, _ = self.places
        for folder in (tree / ".git", tree / "work", cache / "snapshot-1"):
            folder.mkdir()
            (folder / "file.o").write_text("")
        # Somebody saves a file meanwhile.
        (tree / "driver.c").write_text("")
        self.assertEqual(self.before.left(), [])

    def test_mounts(self) -> None:
        rows = f"tmpfs {self.places[2]}/x tmpfs rw 0 0\ntmpfs /elsewhere tmpfs rw 0 0\n"
        read = Path.read_text

        def mounts(path: Path, *args, **kwargs) -> str:
            return rows if path.name == "mounts" else read(path, *args, **kwargs)

        with mock.patch.object(Path, "read_text", mounts):
            self.assertEqual(self.before.left(), [f"mount {self.places[2]}/x"])

    def test_a_child(self) -> None:
        child = subprocess.Popen(["sleep", "1000"])
        try:
            self.assertIn(f"process {child.pid} (sleep)", self.before.left())
        finally:
            child.kill()
            child.wait()
        self.assertEqual(self.before.left(), [])

    def test_an_orphan(self) -> None:
        # In a process of its own: it stays the heir of all orphans to its end.
        script = """if True:
            import os, subprocess
            from judge import leftovers
            leftovers.adopt_orphans()
            shell = subprocess.run(["sh", "-c", "sleep 1000 >&- 2>&- & echo $!"],
                                   capture_output=True, text=True)
            pid = int(shell.stdout)
            print(leftovers.processes() == [f"process {pid} (sleep)"])
            os.kill(pid, 9)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            print(leftovers.processes() == [])"""
        done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True,
                              text=True, cwd=Path(leftovers.__file__).parent.parent,
                              env=dict(os.environ))  # fmt: skip
        self.assertEqual((done.stdout, done.stderr), ("True\nTrue\n", ""))


if __name__ == "__main__":
    unittest.main()
