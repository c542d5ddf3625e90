"""Recipes: kbuild's commands, repeated only as long as they make what kbuild makes."""

from __future__ import annotations

import os
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from judge import build, recipe
from judge.kernel import Kernel
from judge.stages import STAGES

STAGE = STAGES[0]
PLACE = Path("/cache/build/0123")

# A kbuild as far as is needed here: it leaves the same files, and counts its calls.
KBUILD = r"""
export SRCARCH := x86
F := $(M)/kmsgpipe_basic
note = printf '%s\n' 'cmd_$(1) := $(subst $$,$$$$,$(2))' '$(if $(3),source_$(1) := $(3))'
CC_O = gcc $(KCFLAGS) -Wp,-MMD,$(M)/.kmsgpipe_basic.o.d -Wall -c -o $F.o $F.c
MODPOST = scripts/mod/modpost $F.o $F.mod.c > $(M)/Module.symvers
CC_MOD = gcc -Wp,-MMD,$(M)/.kmsgpipe_basic.mod.o.d -c -o $F.mod.o $F.mod.c
LD = ld -r -o $F.ko $F.o $F.mod.o EXTRA
modules:
	@echo kbuild >> calls
	@$(CC_O)
	@$(call note,$F.o,$(CC_O),$F.c) > $(M)/.kmsgpipe_basic.o.cmd
	@$(MODPOST)
	@$(call note,$(M)/Module.symvers,$(MODPOST)) > $(M)/.Module.symvers.cmd
	@$(CC_MOD)
	@$(call note,$F.mod.o,$(CC_MOD),$F.mod.c) > $(M)/.kmsgpipe_basic.mod.o.cmd
	@$(LD)
	@$(call note,$F.ko,$(LD)) > $(M)/.kmsgpipe_basic.ko.cmd
"""
# Imports are what the description tells of; an unresolved one is an error. Some tools ask for what
# kbuild has told them.
MODPOST = """#!/bin/sh
: ${SRCARCH:?variable not defined}
if nm -u $1 | grep -q missing; then echo 'ERROR: modpost: "missing" undefined!' >&2; exit 1; fi
nm -u $1 | awk '{ print "int uses_" $2 ";" }' > $2
echo modpost >> calls
"""
FIXDEP = '#!/bin/sh\nprintf "cmd_%s := %s\\n\\nsource_%s := x\\n" "$2" "$3" "$2"\n'


class Parse(unittest.TestCase):
    def test_what_is_special_to_make(self) -> None:
        text = f"savedcmd_{PLACE}/a/x.mod := awk '!x[$$0]++' $(pound)1 > {PLACE}/a/x.mod\n"
        step = recipe.parse(text, PLACE)
        self.assertEqual(step.command, "awk '!x[$0]++' #1 > %PLACE%/a/x.mod")
        self.assertEqual((step.kind, step.output), (recipe.LISTED, "%PLACE%/a/x.mod"))

    def test_unknown_kinds_are_not_learned(self) -> None:
        for text in (f"cmd_{PLACE}/a/x.rs := rustc\n", "nothing of the kind\n"):
            with self.assertRaises(recipe.Unlearnable):
                recipe.parse(text, PLACE)

    def test_an_environment_that_kbuild_heeds(self) -> None:
        self.assertTrue(recipe.allowed({"PATH": "/bin", "LC_ALL": "C", "HOME": "/", "TERM": "x"}))
        for name in ("KCFLAGS", "CC", "LLVM", "ARCH", "CROSS_COMPILE", "KBUILD_MODPOST_WARN",
                     "CPATH", "CFLAGS_MODULE", "KAFLAGS", "HOSTCC"):  # fmt: skip
            self.assertFalse(recipe.allowed({name: "x"}), name)


@unittest.skipUnless(shutil.which("gcc") and shutil.which("make"), "it compiles")
class Repeat(unittest.TestCase):
    """Against a make that compiles as kbuild does."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.tree, self.kdir = Path(scratch.name, "tree"), Path(scratch.name, "linux")
        self.kernel = Kernel("a kernel", "6.6.0", self.kdir, Path("/image"), {})
        patch = mock.patch.dict(os.environ, {"KMSGPIPE_CACHE": f"{scratch.name}/cache"})
        patch.start()
        self.addCleanup(patch.stop)
        for name in [name for name in os.environ if recipe.HEEDED.match(name)]:
            del os.environ[name]
        self.tool("Makefile", KBUILD.replace("EXTRA", ""))
        self.tool("scripts/mod/modpost", MODPOST)
        self.tool("scripts/basic/fixdep", FIXDEP)

    def tool(self, name: str, text: str) -> None:
        path = self.kdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def calls(self, word: str = "kbuild") -> int:
        return (self.kdir / "calls").read_text().split().count(word)

    def build(self, text: str, tree: Path | None = None, *options: str) -> build.Built:
        tree = tree or self.tree
        path = tree / STAGE.source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return build.build(STAGE, self.kernel, tree, options)

    def test_the_next_edit_does_without_kbuild(self) -> None:
        self.build("int one(void) { return 1; }\n")
        built = self.build("int two(void) { return 2; }\n")
        self.assertEqual(self.calls(), 1)
        self.assertIn(b"two", built.module.read_bytes())

    def test_another_tree_makes_the_same_module(self) -> None:
        text = "int f(int x) { return g(x); }\n"
        self.build(text)
        other = self.tree.with_name("other")
        repeated = self.build(text, other)
        self.assertEqual(self.calls(), 1)
        with mock.patch.object(recipe, "load", return_value=recipe.Recipe([], STAGE, self.kernel)):
            (repeated.module.with_suffix(".stamp")).unlink()
            made, said = repeated.module.read_bytes(), repeated.messages
            by_kbuild = self.build(text, other)
        self.assertEqual(self.calls(), 2)
        self.assertEqual(made, by_kbuild.module.read_bytes())
        self.assertEqual(said, by_kbuild.messages)
        self.assertIn("implicit declaration", said)

    def test_new_imports_are_described_anew(self) -> None:
        self.build("int f(void) { return 1; }\n")
        built = self.build("extern int g(void); int f(void) { return g(); }\n")
        self.assertEqual(self.calls(), 1)
        self.assertIn(b"uses_g", built.module.read_bytes())
        built = self.build("int f(void) { return 1; }\n")
        self.assertNotIn(b"uses_g", built.module.read_bytes())

    def test_modpost_is_asked_each_time(self) -> None:
        self.build("int f(void) { return 1; }\n")
        with self.assertRaisesRegex(build.BuildFailed, '"missing" undefined'):
            self.build("extern int missing(void); int f(void) { return missing(); }\n")
        self.build("int f(void) { return 3; }\n")
        self.assertEqual(self.calls(), 1)

    def test_an_error_is_the_compilers(self) -> None:
        self.build("int f(void) { return 1; }\n")
        with self.assertRaisesRegex(build.BuildFailed, r"basic\.c:1:.*error"):
            self.build("int f(void) { return }\n")
        with self.assertRaisesRegex(build.BuildFailed, r"basic\.c:1:.*error"):
            self.build("int f(void) { return }\n")
        self.build("int f(void) { return 4; }\n")
        self.assertEqual(self.calls(), 1)

    def test_exports_are_for_kbuild(self) -> None:
        self.build("int f(void) { return 1; }\n")
        self.build("int __ksymtab_f; int f(void) { return 1; }\n")
        self.assertEqual(self.calls(), 2)
        self.build("int f(void) { return 2; }\n")
        self.assertEqual(self.calls(), 2)

    def test_other_tools_or_flags_are_another_recipe(self) -> None:
        self.build("int f(void) { return 1; }\n")
        self.build("int f(void) { return 2; }\n", None, "W=1")
        self.assertEqual(self.calls(), 2)
        self.tool("scripts/mod/modpost", MODPOST + "# another\n")
        self.build("int f(void) { return 3; }\n")
        self.assertEqual(self.calls(), 3)
        self.build("int f(void) { return 4; }\n")
        self.assertEqual(self.calls(), 3)

    def test_an_environment_for_kbuild(self) -> None:
        self.build("int f(void) { return 1; }\n")
        with mock.patch.dict(os.environ, {"KCFLAGS": "-DX=5"}):
            self.build("int f(void) { return X; }\n")
        self.assertEqual(self.calls(), 2)

    def test_what_makes_another_module_is_never_used(self) -> None:
        """Here kbuild goes on after the command that it wrote down."""
        more = KBUILD.replace("EXTRA", "") + "\t@echo more >> $F.ko\n"
        self.tool("Makefile", more)
        for number in range(3):
            built = self.build(f"int f(void) {{ return {number}; }}\n")
            self.assertTrue(built.module.read_bytes().endswith(b"more\n"))
        self.assertEqual(self.calls(), 4)  # one more to undo what was tried


if __name__ == "__main__":
    unittest.main()
