"""Building: messages name the student's file, and a build that is still good is not redone."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from judge import build
from judge.kernel import Kernel
from judge.stages import STAGES, TREE

STAGE = STAGES[0]
KERNEL = Kernel("a kernel", "6.6.0", Path("/kdir"), Path("/image"), {})
PLACE = Path("/cache/build/0123")


class Messages(unittest.TestCase):
    def test_names_are_the_originals(self) -> None:
        said = f"{PLACE}/{STAGE.source}:3:1: warning: odd"
        self.assertEqual(build.messages(said, PLACE, TREE), f"{STAGE.source}:3:1: warning: odd")
        theirs = build.messages(said, PLACE, Path("/home/x/work"))
        self.assertEqual(theirs, f"/home/x/work/{STAGE.source}:3:1: warning: odd")

    def test_noise_goes(self) -> None:
        noise = ["make: *** [Makefile:9: x] Error 2", "make[2]: *** [x] Error 1",
                 "warning: the compiler differs from the one used to build the kernel",
                 "  The kernel was built by: gcc-12", "  You are using:           gcc-13",
                 "cc1: some warnings being treated as errors",
                 "x.c:1:2: note: each undeclared identifier is reported only once for each f",
                 "Skipping BTF generation for x.ko due to unavailability of vmlinux"]  # fmt: skip
        self.assertEqual(build.messages("\n".join(noise), PLACE, TREE), "")

    def test_headers_of_the_kernel_have_their_short_names(self) -> None:
        long = "In file included from /cache/kernel/usr/src/linux-headers-6.1/include/linux/fs.h:7,"
        self.assertEqual(build.messages(long, PLACE, TREE),
                         "In file included from include/linux/fs.h:7,")  # fmt: skip

    def test_what_matters_stays(self) -> None:
        for line in ("x.c:1: error: make: no", 'ERROR: modpost: "f" [x.ko] undefined!',
                     "  9 |  make: it", "WARNING: modpost: odd"):  # fmt: skip
            self.assertEqual(build.messages(line, PLACE, TREE), line.strip())


class Build(unittest.TestCase):
    """With a kbuild that writes a module, or does not."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.tree = Path(scratch.name) / "tree"
        self.write("1")
        self.calls: list[list[str]] = []
        self.answer, self.makes_module = (0, ""), True
        for patch in (mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": f"{scratch.name}/cache",
                                                   "MAKEFLAGS": "n", "W": "1", "KDIR": "/x"}),
                      mock.patch("subprocess.run", self.run_command),
                      mock.patch.object(build, "_run", self.run_command)):  # fmt: skip
            patch.start()
            self.addCleanup(patch.stop)

    def write(self, text: str) -> None:
        path = self.tree / STAGE.source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_command(self, command: list, env=None, seconds=0, **_):
        if command[0] == "strip":
            Path(command[-2]).write_text("stripped")
            return None
        self.calls.append([str(word) for word in command])
        self.env = env
        module = next(w[2:] for w in command if w.startswith("M=")) + f"/{STAGE.module}.ko"
        if self.makes_module:
            Path(module).write_text("module")
        code, text = self.answer
        return subprocess.CompletedProcess(command, code, text.replace("@", f"{module[:-3]}.c"))

    def build(self) -> build.Built:
        return build.build(STAGE, KERNEL, self.tree)

    def test_once_until_something_changes(self) -> None:
        self.answer = (0, "@:1: warning: odd")
        first = self.build()
        self.assertEqual(first.messages, f"{self.tree}/{STAGE.source}:1: warning: odd")
        self.assertTrue(first.module.exists() and first.stripped)
        self.build()
        self.assertEqual(len(self.calls), 1)
        self.write("2")
        self.build()
        self.assertEqual(len(self.calls), 2)

    def test_another_kernel_another_place(self) -> None:
        other = Kernel("another", "6.12.0", Path("/other"), Path("/image"), {})
        self.assertNotEqual(self.build().module, build.build(STAGE, other, self.tree).module)

    def test_a_failed_build_leaves_no_module_to_take(self) -> None:
        self.build()
        self.write("2")
        self.answer = (2, "@:1: error: no")
        for _ in range(2):
            with self.assertRaisesRegex(build.BuildFailed, "1: error: no"):
                self.build()
        self.answer = (0, "")
        self.build()
        self.assertEqual(len(self.calls), 4)

    def test_no_module_is_a_failure(self) -> None:
        self.makes_module = False
        with self.assertRaisesRegex(build.BuildFailed, "without a message"):
            self.build()

    def test_nothing_of_our_make_reaches_kbuild(self) -> None:
        self.build()
        self.assertFalse({"MAKEFLAGS", "W", "KDIR"} & self.env.keys())
        self.assertIn("PATH", self.env)


class Ending(unittest.TestCase):
    def test_what_make_has_started_ends_with_it(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pid = Path(folder) / "pid"
            # The first sleep holds the output open: communicate() would wait for it, too.
            script = f"sleep 1000 & echo $! > {pid}; wait"
            with self.assertRaisesRegex(build.BuildFailed, "did not end within 1 s"):
                build._run(["sh", "-c", script], dict(os.environ), seconds=1)
            stat = Path(f"/proc/{pid.read_text().strip()}/stat")
            deadline = time.monotonic() + 20
            while stat.exists() and ") Z" not in stat.read_text():
                self.assertLess(time.monotonic(), deadline, "it lives on")


if __name__ == "__main__":
    unittest.main()
