"""Which kernel KERNEL=, KDIR= and KIMAGE= name, and whether it will do."""

from __future__ import annotations

import os
import unittest

from judge import kernel
from judge.errors import UsageError

from .trees import Scratch


class Asked(Scratch):
    def test_options(self) -> None:
        self.built_tree(CONFIG_MODULE_UNLOAD="", CONFIG_SERIAL_8250="m")
        self.refused(
            r"lacks, built in: CONFIG_MODULE_UNLOAD \(rmmod\), "
            r"CONFIG_SERIAL_8250 \(the serial ports\)"
        )

    def test_contradictions(self) -> None:
        self.refused("say stock", "stokc", UsageError)
        os.environ["KIMAGE"] = "/x"
        self.refused("KIMAGE= needs KDIR=", "stock", UsageError)
        os.environ["KDIR"] = "/x"
        self.refused("give one", "6.1", UsageError)

    def test_compiler(self) -> None:
        for text, command in (
            (
                "override ARCH = x86\nCC = $(if $(USE_CCACHE),$(CCACHE)) "
                "$(CROSS_COMPILE)gcc-12\nX = y\n",
                "gcc-12",
            ),
            ("CC = $(CROSS_COMPILE)gcc-14\n", "gcc-14"),
            ("CC = clang\n", None),
            ("", None),
        ):
            self.assertEqual(kernel.compiler_of(text), command)


if __name__ == "__main__":
    unittest.main()
