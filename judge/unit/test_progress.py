"""The line of progress."""

from __future__ import annotations

import io
import unittest
from contextlib import redirect_stdout

from judge import progress


class Progress(unittest.TestCase):
    def test_nothing_into_a_file(self) -> None:
        with redirect_stdout(io.StringIO()) as said:
            progress.show("half way")
        self.assertEqual(said.getvalue(), "")

    def test_megabytes(self) -> None:
        self.assertEqual(progress.megabytes(1_240_000), "1.2 MB")
        self.assertEqual(progress.megabytes(140_400_000), "140 MB")


if __name__ == "__main__":
    unittest.main()
