"""The static review: whatever form a complaint has, it is not lost."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from judge import check
from judge.errors import CannotTest
from judge.stages import STAGES

STAGE = STAGES[2]
C = STAGE.source
KDIR = "/cache/kernel/usr/src/linux-headers-6.1/include/linux"


class InPlace(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.place = Path(scratch.name)
        for name in (C, "include/kmsgpipe.h"):
            (self.place / name).parent.mkdir(exist_ok=True)
            (self.place / name).write_text("")

    def sort(self, *rows: str, failed: bool = False) -> check.Review:
        output = "\n".join(row.replace("@", f"{self.place}/") for row in rows)
        return check.sort_output(output, "W=1", self.place, STAGE, failed)

    def shown(self, *rows: str, failed: bool = False) -> list[str]:
        return [str(finding) for finding in self.sort(*rows, failed=failed).findings]


class SortOutput(InPlace):
    def test_warning(self) -> None:
        self.assertEqual(
            self.shown(f"@{C}: In function 'f':", f"@{C}:9:13: warning: unused variable 'a' [-Wx]"),
            [f"{C}:9: W=1: unused variable 'a' [-Wx]"],
        )

    def test_error_and_no_column(self) -> None:
        self.assertEqual(self.shown(f"@{C}:9: error: no", failed=True), [f"{C}:9: W=1: error: no"])

    def test_header_by_a_roundabout_way(self) -> None:
        row = f"@{STAGE.folder}/../include/kmsgpipe.h:3:1: warning: odd"
        self.assertEqual(self.shown(row), ["include/kmsgpipe.h:3: W=1: odd"])

    def test_name_as_seen_from_the_modules_folder(self) -> None:
        self.assertEqual(self.shown(f"{STAGE.module}.c:3:1: warning: odd"), [f"{C}:3: W=1: odd"])

    def test_sparse_with_its_further_lines(self) -> None:
        rows = [f"@{C}:4:1: warning: incorrect type (different address spaces)",
                f"@{C}:4:1:    expected void const *objp",
                f"@{C}:4:1:    got char [noderef] __user *u"]  # fmt: skip
        self.assertEqual(self.shown(*rows), [
            f"{C}:4: W=1: incorrect type (different address spaces); "
            "expected void const *objp; got char [noderef] __user *u"])  # fmt: skip

    def test_kernels_own_is_counted_only(self) -> None:
        review = self.sort(f"In file included from @{C}:3:", f"{KDIR}/list.h:9:1: warning: odd")
        self.assertEqual((review.findings, review.ignored), ([], 1))

    def test_include_of_the_kernel_is_not_ours(self) -> None:
        review = self.sort("include/linux/list.h:9:1: warning: odd", "./include/x.h:1: warning: y")
        self.assertEqual((review.findings, review.ignored), ([], 2))

    def test_inlined_from_the_tree(self) -> None:
        rows = ["In function 'check_copy_size',",
                f"    inlined from 'copy_from_user' at {KDIR}/uaccess.h:160:6,",
                f"    inlined from 'f' at @{C}:12:6:",
                f"{KDIR}/thread_info.h:230:25: warning: call to '__bad_copy_to'"]  # fmt: skip
        self.assertEqual(self.shown(*rows), [f"{C}:12: W=1: call to '__bad_copy_to'"])
        review = self.sort(*rows, f"{KDIR}/list.h:9:1: warning: odd")
        self.assertEqual((len(review.findings), review.ignored), (1, 1))
        rows.insert(3, f"    inlined from 'g' at @{C}:20:6:")  # who called f
        self.assertEqual(self.shown(*rows), [f"{C}:12: W=1: call to '__bad_copy_to'"])

    def test_macro_of_the_kernel_used_in_the_tree(self) -> None:
        rows = [f"{KDIR}/minmax.h:20:28: warning: comparison of distinct pointer types",
                f"{KDIR}/minmax.h:36:25: note: in expansion of macro '__careful_cmp'",
                f"@{C}:12:6: note: in expansion of macro 'min'"]  # fmt: skip
        self.assertEqual(self.shown(*rows), [f"{C}:12: W=1: comparison of distinct pointer types"])

    def test_error_in_a_header_of_the_kernel(self) -> None:
        found = self.shown(f"{KDIR}/list.h:9:1: error: odd", failed=True)
        self.assertEqual(found, [f"{C}: W=1: list.h:9: error: odd"])

    def test_lines_of_no_known_form(self) -> None:
        for row in ('ERROR: modpost: "f" [@lab3_wait/kmsgpipe_wait.ko] undefined!',
                    "WARNING: modpost: missing MODULE_DESCRIPTION() in x.o",
                    "@lab3_wait/kmsgpipe_wait.o: warning: objtool: f()+0x1: unreachable",
                    "ld: odd", "something is odd here"):  # fmt: skip
            with self.subTest(row):
                self.assertEqual(len(self.shown(row)), 1)
                self.assertNotIn(str(self.place), self.shown(row)[0])

    def test_progress_is_none(self) -> None:
        self.assertEqual(self.shown(
            "make[1]: Entering directory '/x'", "  CC [M]  @lab3_wait/kmsgpipe_wait.o",
            f"  CHECK   @{C}", "  MODPOST @Module.symvers", "  LD [M]  @x.ko", "  BTF [M] @x.ko",
            "Skipping BTF generation for x.ko due to unavailability of vmlinux", "",
            "make[1]: Leaving directory '/x'",
        ), [])  # fmt: skip

    def test_failed_without_a_word(self) -> None:
        for rows in ((), ("make: *** [x] Error 1",), (f"{KDIR}/list.h:9:1: warning: odd",)):
            with self.subTest(rows):
                self.assertEqual(len(self.shown(*rows, failed=True)), 1)


class SortCheckpatch(InPlace):
    def sort(self, output: str, status: int) -> list[str]:
        review = check.sort_checkpatch(output.replace("@", f"{self.place}/"), status, self.place, C)
        return [str(finding) for finding in review.findings]

    def test_clean(self) -> None:
        self.assertEqual(self.sort("", 0), [])

    def test_each_level(self) -> None:
        for level in ("ERROR", "WARNING", "CHECK"):
            self.assertEqual(self.sort(f"@{C}:7: {level}:SPACING: space: prohibited\n", 1),
                             [f"{C}:7: checkpatch: space: prohibited [SPACING]"])  # fmt: skip

    def test_it_did_not_get_through(self) -> None:
        for output, status in (
            ("Can't locate X.pm in @INC", 2), ("", 1), ("", 255), ("oops", 0),
            ("@x.c:7: ERROR:SPACING: x", 1),
            (f"@{C}:7: ERROR:SPACING: x", 0), (f"@{C}:7: ERROR:SPACING: x\nUse of undef", 1),
        ):  # fmt: skip
            with self.subTest((output, status)), self.assertRaises(CannotTest):
                self.sort(output, status)


class Compile(InPlace):
    def review(self, first, second=None) -> check.Review:
        runs = [mock.Mock(stdout=text, returncode=code) for code, text in (first, second) if text]
        with mock.patch.object(check, "kbuild", side_effect=runs):
            return check.compile_review(STAGE, mock.Mock(), self.place)

    def test_no_module_is_a_finding(self) -> None:
        self.assertTrue(self.review((0, "  CC [M]  x.o"), (0, "")).findings)

    def test_sparse_has_to_be_seen_at_work(self) -> None:
        (self.place / STAGE.folder / f"{STAGE.module}.ko").write_text("")
        built, checked = (0, "  LD [M]  x.ko"), (0, f"  CHECK   {self.place}/{C}")
        self.assertEqual(self.review(built, checked).findings, [])
        with self.assertRaisesRegex(CannotTest, "did not run sparse"):
            self.review(built, built)


if __name__ == "__main__":
    unittest.main()
