"""strace.py: which packages, and which of their files."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from judge import debian, strace
from judge.errors import CannotTest

DEPENDS = {
    "strace": ("libc6", "libunwind8"),
    "libc6": ("libgcc-s1",),
    "libgcc-s1": ("libc6",),  # they need each other
    "libunwind8": ("libc6",),
}
HEADERS = {
    "strace": "[Requesting program interpreter: /lib64/ld.so.2]\n"
    " 0x1 (NEEDED)  Shared library: [libc.so.6]\n 0x1 (NEEDED)  Shared library: [libu.so.8]\n",
    "libu.so.8": " 0x1 (NEEDED)  Shared library: [libc.so.6]\n",
}


def _show(names: list[str]) -> list[debian.Package]:
    return [debian.Package(n, "1", 1, 1, DEPENDS[n], "libs") for n in names if n in DEPENDS]


class Packages(unittest.TestCase):
    def test_all_that_it_depends_on_once(self) -> None:
        with mock.patch.object(debian, "show", _show):
            self.assertEqual(strace.packages(), sorted(DEPENDS))

    def test_a_package_that_apt_does_not_know(self) -> None:
        nothing = mock.patch.object(debian, "show", lambda names: [])
        with nothing, self.assertRaisesRegex(CannotTest, "strace"):
            strace.packages()


class Files(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        for name in ("usr/bin/strace", "lib64/ld.so.2", "lib/x/libc.so.6", "usr/lib/x/libu.so.8"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).touch()
        patch = mock.patch.object(strace, "_readelf", lambda file: HEADERS.get(file.name, ""))
        patch.start()
        self.addCleanup(patch.stop)

    def test_libraries_lie_where_the_loader_looks(self) -> None:
        found = strace.files(self.root)
        self.assertEqual(
            sorted(found), ["bin/strace", "lib/libc.so.6", "lib/libu.so.8", "lib64/ld.so.2"]
        )
        self.assertEqual(found["lib/libc.so.6"], self.root / "lib/x/libc.so.6")

    def test_a_library_that_is_in_no_package(self) -> None:
        (self.root / "lib/x/libc.so.6").unlink()
        with self.assertRaisesRegex(CannotTest, "libc.so.6"):
            strace.files(self.root)


if __name__ == "__main__":
    unittest.main()
