"""Lab kernels: their configs, what is remembered, and what a build that fails says."""

from __future__ import annotations

import json
import os
import unittest
from unittest import mock

from judge import arch, cache, kernel, labkernel, tools, tree
from judge.errors import CannotTest, UsageError

from .trees import ON, RELEASE, Scratch

# A kernel's make: writes what one writes, or fails as one does.
MAKE = """#!/bin/sh
for word; do case $word in O=*) out=${word#O=} ;; esac; done
case " $* " in
*" allnoconfig "*) sed /LACKING/d "$out/fragments.config" >"$out/.config" ;;
*) echo "  CC      init/main.o"; %s ;;
esac
"""


class Configs(unittest.TestCase):
    def setUp(self) -> None:
        patch = mock.patch.object(arch, "host", return_value=ON)
        patch.start()
        self.addCleanup(patch.stop)

    def test_what_the_course_needs(self) -> None:
        for name in labkernel.LABS:
            config = tree.parse_config(labkernel.config_text(name))
            asked = {option for option, _ in kernel.OPTIONS + ON.options}
            # What is on without anybody's asking.
            asked -= {"CONFIG_MULTIUSER"}
            self.assertEqual(asked - set(config), set(), name)
            self.assertEqual(config["CONFIG_LOCALVERSION"], f"-{name}")

    def test_fragments_are_readable(self) -> None:
        for path in labkernel.CONFIGS.glob("*.config"):
            for line in path.read_text().splitlines():
                self.assertRegex(line, r"^(#( .*)?|CONFIG_\w+=\S+|)$", path.name)
                self.assertLessEqual(len(line), 100)

    def test_lacking(self) -> None:
        asked = (
            "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=7\n# about CONFIG_X\n" 'CONFIG_L="-x"\n'
        )
        self.assertEqual(labkernel.lacking(asked, 'CONFIG_B=y\nCONFIG_C=7\nCONFIG_L="-x"\n'), [])
        got = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=8\n"
        self.assertEqual(
            labkernel.lacking(asked, got), ["CONFIG_A", "CONFIG_B", "CONFIG_C", "CONFIG_L"]
        )


class Building(Scratch):
    def setUp(self) -> None:
        super().setUp()
        self.put("Makefile", b"VERSION = 6\nPATCHLEVEL = 6\nSUBLEVEL = 1\n")
        self.bin = self.tree.parent / "bin"
        self.bin.mkdir()
        self.good_make()
        for patch in (
            mock.patch.dict(os.environ, {"PATH": f"{self.bin}:{os.environ['PATH']}"}),
            mock.patch.object(tools, "require"),
            mock.patch("builtins.print"),
        ):
            self.said = patch.start()
            self.addCleanup(patch.stop)

    def make_does(self, shell: str) -> None:
        (self.bin / "make").write_text(MAKE % shell)
        (self.bin / "make").chmod(0o755)

    def good_make(self) -> None:
        stamp = f"mkdir -p include/generated; echo '#define UTS_RELEASE \"{RELEASE}\"'"
        self.make_does(
            f'cd "$out" && {stamp} >include/generated/utsrelease.h; echo x >vmlinux; '
            "echo $(($(cat count) + 1)) >count"
        )

    def build(self, name: str = "debug") -> None:
        with mock.patch.dict(os.environ, {"KERNEL": name, "SOURCE": str(self.tree)}):
            self.assertEqual(labkernel.verb(), 0)

    def test_built_and_found(self) -> None:
        with self.assertRaisesRegex(CannotTest, "not built yet: make kernel KERNEL=race"):
            kernel.find("race")
        self.build("race")
        found = kernel.known("race")
        self.assertEqual((found.release, found.kdir), (RELEASE, cache.root() / "lab-race"))
        self.assertTrue(found.has("CONFIG_KCSAN"))
        self.assertIsNone(kernel.known("debug"))

    def test_a_build_that_failed_is_no_kernel(self) -> None:
        self.build()
        self.make_does('echo "mm/slub.c:7:1: error: what is this"; exit 2')
        with self.assertRaisesRegex(CannotTest, r"does not build: mm/slub.c:7:1: error.*build.log"):
            self.build()
        self.assertIsNone(labkernel.known("debug"))
        self.good_make()
        self.build()
        self.assertIsNotNone(labkernel.known("debug"))

    def test_disk_full(self) -> None:
        self.make_does('echo "fatal error: cannot write x.o: No space left on device"; exit 2')
        with self.assertRaisesRegex(CannotTest, "the disk is full"):
            self.build()

    def test_what_a_kernel_lacks_is_said(self) -> None:
        with mock.patch.object(
            labkernel, "config_text", return_value="CONFIG_A=y\nCONFIG_LACKING=y\n"
        ):
            self.build()
        said = [call.args[0] for call in self.said.call_args_list]
        self.assertIn("Linux 6.6.1 does not have, or not this way: CONFIG_LACKING", said)

    def test_only_what_drivers_touch_is_watched(self) -> None:
        said = self.said
        self.make_does('echo "$*" >"$out/words"; cd "$out"; mkdir -p include/generated; '
                       f"echo '#define UTS_RELEASE \"{RELEASE}\"' >include/generated/utsrelease.h; "
                       "touch a.o b.o; echo x >vmlinux")  # fmt: skip
        lab = labkernel.Lab("debug", ("base",), "", 1, 1, watched=("a", "gone", "b"))
        with mock.patch.dict(labkernel.LABS, {"debug": lab}):
            self.build()
        words = (labkernel.folder("debug") / "words").read_text().split()
        self.assertIn("KASAN_SANITIZE=n", words)
        self.assertIn("KASAN_SANITIZE_gone.o=y", words)
        self.assertIn("Linux 6.6.1 has no gone.o: nothing is watched there",
                      [call.args[0] for call in said.call_args_list])  # fmt: skip

    def test_what_single_objects_are_compiled_with(self) -> None:
        lab = labkernel.Lab("debug", ("base",), "", 1, 1,
                            flags=(("kmemleak", "-include first/x.h"),))  # fmt: skip
        first = self.tree.parent / "first"
        first.mkdir()
        (first / "x.h").write_text("one\n")
        self.make_does('[ -f "$out/words" ] || for w; do echo "$w"; done >"$out/words"; cd "$out"; '
                       "mkdir -p include/generated; "
                       f"echo '#define UTS_RELEASE \"{RELEASE}\"' >include/generated/utsrelease.h; "
                       "echo x >vmlinux")  # fmt: skip
        with mock.patch.dict(labkernel.LABS, {"debug": lab}), \
                mock.patch.object(labkernel, "FIRST", first):  # fmt: skip
            self.build()
            copy = labkernel.folder("debug") / "first/x.h"
            os.utime(copy, (1, 1))
            self.build()
            self.assertEqual((copy.read_text(), copy.stat().st_mtime), ("one\n", 1))
            self.said.reset_mock()
            labkernel.find("debug")
            self.said.assert_not_called()

            (first / "x.h").write_text("another\n")
            labkernel.find("debug")
            self.assertIn("built with another config", self.said.call_args.args[0])
            self.build()
            self.assertEqual(copy.read_text(), "another\n")
        words = (labkernel.folder("debug") / "words").read_text().splitlines()
        self.assertIn("CFLAGS_kmemleak.o=-include first/x.h", words)

    def test_each_header_is_some_objects(self) -> None:
        names = {header.stem for header in labkernel.FIRST.glob("*.h")}
        included = {name for name, flags in labkernel.FLAGS.items()
                    if f"-include first/{name}.h" in flags}  # fmt: skip
        self.assertTrue(names)
        self.assertEqual(names, included)

    def test_a_tree_in_the_cache_is_built_once(self) -> None:
        ours = cache.root() / "linux-x"
        self.tree.rename(ours)
        self.tree = ours
        self.build()
        self.build()
        self.assertEqual((labkernel.folder("debug") / "count").read_text(), "1\n")
        with mock.patch.object(labkernel, "config_text", return_value="CONFIG_OTHER=y\n"):
            self.build()
        self.assertEqual((labkernel.folder("debug") / "count").read_text(), "2\n")

    def test_sources_of_no_kernel_go(self) -> None:
        for name in ("linux-old", "linux-race"):
            (cache.root() / name).mkdir()
        labkernel.folder("race").mkdir()
        (labkernel.folder("race") / "source").symlink_to(cache.root() / "linux-race")
        self.build()
        self.assertEqual([path.name for path in cache.root().glob("linux-*")], ["linux-race"])

    def test_config_that_has_changed_is_said(self) -> None:
        self.build()
        note = labkernel.folder("debug") / "built.json"
        note.write_text(json.dumps({**json.loads(note.read_text()), "config": "another"}))
        self.said.reset_mock()
        labkernel.find("debug")
        self.assertIn("make kernel KERNEL=debug", self.said.call_args.args[0])

    def test_kernels_that_are_not_built_here(self) -> None:
        with mock.patch.dict(os.environ, {"KERNEL": "stock"}):
            with self.assertRaisesRegex(UsageError, "KERNEL=base .*, debug .*; not stock"):
                labkernel.verb()


if __name__ == "__main__":
    unittest.main()
