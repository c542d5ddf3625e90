"""Reading apt's answers; no apt is run here."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from judge import debian
from judge.errors import CannotTest

SHOWN = """\
Package: linux-headers-6.12.1+deb13-amd64
Version: 6.12.1-1
Installed-Size: 10256
Depends: linux-base (>= 4.12~), linux-headers-6.12.1+deb13-common (= 6.12.1-1),
 linux-image-6.12.1+deb13-amd64 (= 6.12.1-1) | linux-image-unsigned, gcc-14:any
Section: kernel
Filename: pool/main/l/linux/x.deb
Size: 3271240

Package: only-installed
Version: 1.0
Status: install ok installed
"""


class Reading(unittest.TestCase):
    def test_paragraphs(self) -> None:
        (package,) = debian.parse(SHOWN)
        self.assertEqual(package.name, "linux-headers-6.12.1+deb13-amd64")
        self.assertEqual(package.size, 3271240)
        self.assertEqual(package.installed, 10256 * 1024)
        self.assertEqual(
            package.depends,
            (
                "linux-base",
                "linux-headers-6.12.1+deb13-common",
                "linux-image-6.12.1+deb13-amd64",
                "gcc-14",
            ),
        )
        self.assertEqual(debian.parse(""), [])

    def test_versions_sort_by_number(self) -> None:
        versions = ["6.12.9-1", "6.12.117-1~deb12u1", "6.1.192-2", "6.12.10-1"]
        self.assertEqual(
            sorted(versions, key=debian.version_key),
            ["6.1.192-2", "6.12.9-1", "6.12.10-1", "6.12.117-1~deb12u1"],
        )


class Trouble(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        env = mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": scratch.name})
        env.start()
        self.addCleanup(env.stop)

    def complaint(self, stderr: str) -> CannotTest:
        with self.assertRaises(CannotTest) as caught:
            debian._complain(debian.Run(100, "", stderr), "the-package")
        return caught.exception

    def test_offline_is_one_line(self) -> None:
        e = self.complaint(
            "E: Failed to fetch http://deb.debian.org/x.deb  Temporary failure "
            "resolving 'deb.debian.org'\nE: Some files failed to download\n"
        )
        self.assertIn(
            "cannot fetch the-package: Temporary failure resolving " "'deb.debian.org'.", str(e)
        )
        self.assertNotIn("\n", str(e))
        self.assertNotIsInstance(e, debian.OutOfDate)

    def test_old_lists(self) -> None:
        for words in (
            "E: Failed to fetch http://x/y.deb  404  Not Found",
            "E: Unable to locate package y",
        ):
            self.assertIsInstance(self.complaint(words), debian.OutOfDate)

    def test_disk_full(self) -> None:
        e = self.complaint("E: Write error - write (28: No space left on device)")
        self.assertIn("the disk is full", str(e))

    def test_fresh_lists_are_tried_once(self) -> None:
        action = mock.Mock(side_effect=[debian.OutOfDate("old"), "found"])
        with mock.patch.object(debian, "renew", return_value=True):
            self.assertEqual(debian.with_fresh_lists(action), "found")
        action = mock.Mock(side_effect=debian.OutOfDate("old"))
        with mock.patch.object(debian, "renew", return_value=False), self.assertRaises(
            debian.OutOfDate
        ):
            debian.with_fresh_lists(action)
        self.assertEqual(action.call_count, 1)

    def test_what_is_in_the_cache_is_not_fetched(self) -> None:
        (Path(os.environ["KMSGPIPE_CACHE"]) / "key").mkdir()
        with mock.patch("subprocess.Popen", side_effect=AssertionError):
            debian.unpack(["anything"], "key")


if __name__ == "__main__":
    unittest.main()
