"""The table of tools, and who may install what; nothing is installed here."""

import unittest
from pathlib import Path
from unittest import mock

from judge import arch, tools
from judge.errors import CannotTest

ABSENT = tools.Tool("no-such-command", "no-such-package", "is for a test", "build")


def which(*present: str):
    return lambda name, **_: f"/usr/bin/{name}" if name in present else None


class Table(unittest.TestCase):
    def test_every_step_is_known(self) -> None:
        steps = {step for steps in tools.PURPOSES.values() for step in steps}
        for tool in tools.table():
            self.assertIn(tool.when, steps, tool.name)
            self.assertTrue(tool.why and tool.package)

    def test_purposes(self) -> None:
        with mock.patch("shutil.which", which()), mock.patch("glob.glob", lambda pattern: []):
            lacking = {p: {t.name for t in tools.missing(p)} for p in tools.PURPOSES}
        self.assertIn("gcc", lacking["build"])
        self.assertNotIn(arch.host().qemu, lacking["check"])
        self.assertIn(arch.host().qemu, lacking["test"])
        self.assertNotIn("sparse", lacking["test"])
        self.assertTrue({"flex", "libelf.h"} <= lacking["kernel"] - lacking["test"])


class Need(unittest.TestCase):
    def refusal(self, *present: str, uid: int = 1000) -> str:
        with mock.patch("shutil.which", which(*present)), mock.patch(
            "os.geteuid", return_value=uid
        ), mock.patch("sys.stdin.isatty", return_value=False), mock.patch(
            "subprocess.run", return_value=mock.Mock(returncode=1)
        ), self.assertRaises(
            CannotTest
        ) as caught:
            tools.need([ABSENT])
        return str(caught.exception)

    def test_nothing_missing_runs_nothing(self) -> None:
        with mock.patch("subprocess.run", side_effect=AssertionError):
            tools.need([tools.Tool("sh", "dash", "is there", "build")])

    def test_other_distribution(self) -> None:
        self.assertIn("no-such-command (is for a test)", self.refusal())
        self.assertNotIn("apt", self.refusal())

    def test_neither_root_nor_sudo(self) -> None:
        self.assertIn(
            "\n    su -c 'apt-get install --no-install-recommends " "no-such-package'",
            self.refusal("apt-get"),
        )

    def test_sudo_that_would_ask_nobody(self) -> None:
        self.assertIn(
            "\n    sudo apt-get install --no-install-recommends " "no-such-package",
            self.refusal("apt-get", "sudo"),
        )

    def test_root_installs(self) -> None:
        with mock.patch("shutil.which", which("apt-get")), mock.patch(
            "os.geteuid", return_value=0
        ), mock.patch.object(tools, "_known", return_value=False), mock.patch.object(
            tools, "_apt", return_value=(0, "")
        ) as apt, self.assertRaisesRegex(
            CannotTest, "still missing"
        ), mock.patch(
            "builtins.print"
        ):
            tools.need([ABSENT])
        self.assertEqual(
            [call.args[:2] for call in apt.call_args_list], [([], "update"), ([], "install")]
        )


class Guest(unittest.TestCase):
    def test_static_is_told_from_dynamic(self) -> None:
        self.assertFalse(arch.elf_static(Path("/proc/self/exe")))
        self.assertFalse(arch.elf_static(Path(__file__)))


if __name__ == "__main__":
    unittest.main()
