"""The cache: complete or not there, whatever happens while it is filled."""

import errno
import fcntl
import io
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from judge import cache
from judge.errors import CannotTest

TOP = Path(__file__).resolve().parents[2]


class InScratchCache(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name) / "cache"
        env = mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": str(self.root)})
        env.start()
        self.addCleanup(env.stop)

    def left_behind(self) -> list:
        return list(self.root.glob(cache.MAKING + "*"))

    def child(self, code: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", code], cwd=TOP, stdout=subprocess.PIPE, text=True
        )


class Root(InScratchCache):
    def test_own_place_wins(self) -> None:
        self.assertEqual(cache.root(), self.root)
        self.assertTrue(self.root.is_dir())

    def test_xdg_then_home(self) -> None:
        del os.environ["KMSGPIPE_CACHE"]
        home = str(self.root.parent)
        for xdg, want in (
            (f"{home}/x", f"{home}/x/kmsgpipe"),
            ("", f"{home}/.cache/kmsgpipe"),
            ("relative", f"{home}/.cache/kmsgpipe"),
        ):
            with self.subTest(xdg), mock.patch.dict(
                os.environ, {"HOME": home, "XDG_CACHE_HOME": xdg}
            ):
                self.assertEqual(str(cache.root()), want)

    def test_not_writable(self) -> None:
        os.environ["KMSGPIPE_CACHE"] = "/proc/nobody/writes/here"
        with self.assertRaisesRegex(CannotTest, "KMSGPIPE_CACHE") as caught:
            cache.root()
        self.assertNotIn("\n", str(caught.exception))

    def test_blank_in_path(self) -> None:
        os.environ["KMSGPIPE_CACHE"] = str(self.root / "my cache")
        with self.assertRaisesRegex(CannotTest, "makefiles"):
            cache.root()


class BuildOnce(InScratchCache):
    def test_made_once(self) -> None:
        calls = []

        def make(into: Path) -> None:
            calls.append(into)
            (into / "thing").write_text("made")

        for _ in range(2):
            path = cache.build_once("key-1.0", make)
            self.assertEqual((path / "thing").read_text(), "made")
        self.assertEqual(path, self.root / "key-1.0")
        self.assertEqual(len(calls), 1)

    def test_failure_leaves_nothing_and_is_retried(self) -> None:
        def fail(into: Path) -> None:
            (into / "half").write_text("")
            (into / "closed").mkdir()
            (into / "closed" / "file").write_text("")
            (into / "closed").chmod(0o500)
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            cache.build_once("key", fail)
        self.assertFalse((self.root / "key").exists())
        self.assertEqual(self.left_behind(), [])
        self.assertTrue(cache.build_once("key", lambda into: None).is_dir())

    def test_killed_maker_is_swept(self) -> None:
        child = self.child(
            "from judge import cache\nimport time\n"
            "def make(into):\n"
            "    print('in', flush=True)\n"
            "    time.sleep(60)\n"
            "cache.build_once('slow.key', make)\n"
        )
        self.assertEqual(child.stdout.readline(), "in\n")
        cache.build_once("other", lambda into: None)
        self.assertEqual(len(self.left_behind()), 1)  # it lives: left alone
        child.send_signal(signal.SIGKILL)
        child.communicate()
        cache.build_once("third", lambda into: None)
        self.assertEqual(self.left_behind(), [])

    def test_two_at_once(self) -> None:
        code = (
            "from judge import cache\nimport os, time\n"
            "def make(into):\n"
            "    time.sleep(0.3)\n"
            "    print('made')\n"
            "cache.build_once('key', make)\n"
        )
        children = [self.child(code) for _ in range(3)]
        said = "".join(child.communicate()[0] for child in children)
        self.assertEqual(said.count("made"), 1, said)

    def test_disk_full(self) -> None:
        def make(into: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with self.assertRaisesRegex(CannotTest, "disk is full") as caught:
            cache.build_once("key", make, 12_000_000)
        self.assertIn(str(self.root), str(caught.exception))
        self.assertIn("12 MB", str(caught.exception))
        self.assertEqual(self.left_behind(), [])

    def test_too_little_room_is_said_beforehand(self) -> None:
        with self.assertRaisesRegex(CannotTest, "disk is full"):
            cache.build_once("key", self.fail, 10**18)

    def test_bad_key(self) -> None:
        for key in ("", "a/b", ".hidden", "../x"):
            with self.subTest(key), self.assertRaises(ValueError):
                cache.build_once(key, lambda into: None)


class Lock(InScratchCache):
    def test_says_once_that_it_waits(self) -> None:
        cache.root()
        child = self.child(
            "from judge import cache\n" "with cache.lock('x'):\n    print('got it')\n"
        )
        with cache.lock("x"):
            line = child.stdout.readline()
        self.assertIn("waiting for another make", line)
        self.assertEqual(child.communicate()[0], "got it\n")

    def test_free_again_after_an_exception(self) -> None:
        with self.assertRaises(RuntimeError), cache.lock("x"):
            raise RuntimeError
        with redirect_stdout(io.StringIO()) as said, cache.lock("x"):
            pass
        self.assertEqual(said.getvalue(), "")
        with (self.root / "locks/x").open("a") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Digest(InScratchCache):
    def test_by_content(self) -> None:
        one, two = cache.root() / "1", cache.root() / "2"
        one.write_text("same")
        two.write_text("same")
        self.assertEqual(cache.digest(one), cache.digest(two))
        self.assertEqual(cache.digest(one), cache.digest("same"))
        two.write_text("other")
        self.assertNotEqual(cache.digest(one), cache.digest(two))

    def test_boundaries_count(self) -> None:
        self.assertNotEqual(cache.digest("ab", "c"), cache.digest("a", "bc"))
        self.assertRegex(cache.digest("a", b"b"), r"^[0-9a-f]{16}$")


class Use(InScratchCache):
    def make(self, key: str, age: int) -> Path:
        made = cache.build_once(key, lambda folder: (folder / "state").touch())
        os.utime(made, (1000 - age, 1000 - age))
        return made

    def test_the_longest_unused_go_and_other_kinds_stay(self) -> None:
        other = self.make("initrd-1", age=900)
        made = [self.make(f"snapshot-{age}", age) for age in range(5)]
        cache.use(made[4], keep=3)
        left = sorted(path.name for path in cache.root().glob("snapshot-*"))
        self.assertEqual(left, ["snapshot-0", "snapshot-1", "snapshot-4"])
        self.assertTrue(other.exists())


if __name__ == "__main__":
    unittest.main()
