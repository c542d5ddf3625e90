"""The kernel's command line follows from its config."""

from __future__ import annotations

import unittest

from judge import cmdline


class Options(unittest.TestCase):
    def test_stock(self) -> None:
        options = cmdline.options({"CONFIG_AUDIT": "y", "CONFIG_KASAN": "m"})
        self.assertIn(cmdline.SLUB_DEBUG, options)
        self.assertIn("audit=0", options)
        self.assertNotIn("apparmor=0", options)
        self.assertNotIn("kasan_multi_shot", options)

    def test_kasan_instead_of_the_allocators_own_checks(self) -> None:
        options = cmdline.options({"CONFIG_KASAN": "y"})
        self.assertIn("kasan_multi_shot", options)
        self.assertNotIn(cmdline.SLUB_DEBUG, options)
        self.assertEqual(len(options), len(set(options)))

    def test_lean(self) -> None:
        full = cmdline.options({"CONFIG_AUDIT": "y"})
        lean = cmdline.lean(full)
        self.assertTrue(cmdline.remembers(full))
        self.assertFalse(cmdline.remembers(lean))
        # Each piece of memory is checked as before.
        self.assertIn(cmdline.SLUB_DEBUG.replace("FZPU", "FZP"), lean)
        self.assertEqual(set(full) - {cmdline.SLUB_DEBUG}, set(full) & set(lean))

    def test_nothing_to_spare_with_kasan(self) -> None:
        options = cmdline.options({"CONFIG_KASAN": "y"})
        self.assertEqual(cmdline.lean(options), options)
    def test_checkers_do_not_count_among_what_can_fail(self) -> None:
        options = cmdline.options({"CONFIG_KASAN": "y", "CONFIG_FAILSLAB": "y"})
        (marked,) = [word for word in options if word.startswith("slub_debug=")]
        self.assertIn("kmemleak_object", marked)
        # Of two such options the kernel heeds the last: damaged memory matters more.
        both = cmdline.options({"CONFIG_FAILSLAB": "y"})
        self.assertEqual([word for word in both if "slub_debug" in word],
                         [marked, cmdline.SLUB_DEBUG])  # fmt: skip


if __name__ == "__main__":
    unittest.main()
