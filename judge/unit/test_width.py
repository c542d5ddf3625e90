"""32-bit programs: who can make them, who can run them, and what is said otherwise."""

import os
import tempfile
import time
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from judge import arch, cache, debian, image, width
from judge.errors import CannotTest
from judge.kernel import Kernel

ON = arch.ARCHS[0]
NONE = replace(ON, name="narrow", compat=None)
RUNS = {"CONFIG_IA32_EMULATION": "y"}


def kernel(**config: str) -> Kernel:
    return Kernel("Linux 6.6", "6.6.0", Path("/kdir"), Path("/image"), config)


class Running(unittest.TestCase):
    def test_with_the_option(self) -> None:
        self.assertEqual(width.kernel_runs_none(kernel(**RUNS), ON), "")

    def test_without(self) -> None:
        for config in ({}, {"CONFIG_IA32_EMULATION": "n"}):
            self.assertEqual(width.kernel_runs_none(kernel(**config), ON),
                             "the kernel Linux 6.6 has no CONFIG_IA32_EMULATION")

    def test_forbidden_at_boot(self) -> None:
        off = kernel(**RUNS, CONFIG_IA32_EMULATION_DEFAULT_DISABLED="y")
        self.assertIn("DEFAULT_DISABLED", width.kernel_runs_none(off, ON))

    def test_architecture_of_one_width(self) -> None:
        self.assertEqual(width.kernel_runs_none(kernel(**RUNS), NONE), "narrow has none")


class Making(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.fetched: list[list[str]] = []
        self.linked: list[tuple[str, ...]] = []
        self.works = lambda options: False
        for patch in (
            mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": scratch.name}),
            mock.patch.object(width, "_gcc", return_value="14"),
            mock.patch.object(width, "_links", self.links),
            mock.patch.object(debian, "available", return_value=True),
            mock.patch.object(debian, "unpack", self.unpack),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    def links(self, options: tuple[str, ...]) -> bool:
        self.linked.append(options)
        return self.works(options)

    def unpack(self, packages: list[str], key: str) -> Path:
        self.fetched.append(packages)
        return cache.build_once(key, lambda into: None)

    def refuse(self, packages: list[str], key: str) -> Path:
        self.fetched.append(packages)
        raise CannotTest("cannot fetch libc6: no route. Connect to the network once")

    def refused(self) -> str:
        with self.assertRaises(width.Unavailable) as caught:
            width.flags(ON)
        self.assertNotIn("\n", str(caught.exception))
        return str(caught.exception)

    def test_gcc_that_can_is_left_alone(self) -> None:
        self.works = lambda options: True
        self.assertEqual(width.flags(ON), ["-m32", "-D_FILE_OFFSET_BITS=64"])
        self.assertEqual(self.fetched, [])

    def test_packages_of_this_gcc(self) -> None:
        self.works = lambda options: len(options) > 2
        flags = width.flags(ON)
        self.assertEqual(self.fetched, [["libc6-dev-i386", "lib32gcc-14-dev"]])
        tree = cache.root() / "guest-lib32-gcc14-amd64"
        self.assertIn(f"-B{tree}/usr/lib/gcc/x86_64-linux-gnu/14/32/", flags)
        self.assertIn(f"-idirafter{tree}/usr/include/x86_64-linux-gnu", flags)
        self.assertEqual(width.flags(ON), flags)
        self.assertEqual(len(self.fetched), 1)

    def test_what_cannot_be_fetched(self) -> None:
        with mock.patch.object(debian, "unpack", self.refuse):
            said = self.refused()
            self.assertEqual(said, "cannot fetch libc6: no route; "
                             "install libc6-dev-i386 and lib32gcc-14-dev")
            self.assertEqual(width.last_failure(ON), said)
            # Again at once it is not tried, but said; later it is tried.
            self.assertEqual(self.refused(), said)
            self.assertEqual(len(self.fetched), 1)
            note = cache.root() / "no-guest-lib32-gcc14-amd64"
            then = time.time() - width.TRY_AGAIN_SECONDS - 1
            os.utime(note, (then, then))
            self.refused()
            self.assertEqual(len(self.fetched), 2)
        # Who has installed them meanwhile need not wait.
        self.works = lambda options: True
        self.assertTrue(width.flags(ON))

    def test_packages_that_do_not_help(self) -> None:
        self.assertIn("install libc6-dev-i386", self.refused())

    def test_other_distribution(self) -> None:
        with mock.patch.object(debian, "available", return_value=False):
            said = self.refused()
        self.assertIn("your distribution's 32-bit C library", said)
        self.assertEqual(self.fetched, [])

    def test_nothing_to_know_for_one_width(self) -> None:
        self.assertIsNone(width.known(NONE))
        with self.assertRaises(width.Unavailable):
            width.flags(NONE)
        self.assertIn("narrow", image.why_not_32_bits(NONE))


if __name__ == "__main__":
    unittest.main()
