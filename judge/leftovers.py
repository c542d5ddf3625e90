"""What a run has left behind on this machine: processes, files and mounts of ours.

Take a Before, run, then ask it. A process that lost its parent is ours as well: it is
handed to us, as to an init, and not to the machine's.
"""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
# Somebody works in the tree while we run: there only what a tool leaves is ours.
NOT_LOOKED_INTO = {".git", "work", "__pycache__"}
PRODUCTS = re.compile(r"\.(o|ko|a|d|i|s|cmd|mod|mod\.c|order|symvers|making)$|^(\.tmp_|core\b|a\.out$)")


def adopt_orphans() -> None:
    """From now on we are the parent of whatever loses its own below us."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def processes() -> list[str]:
    """Children of ours that live still, as PID and name. The dead among them are buried."""
    found = []
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids = listing.read_text().split()
        except OSError:  # a thread of ours that has ended while we look
            continue
        for pid in pids:
            try:
                status = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            name, _, rest = status.partition("(")[2].rpartition(")")
            if rest.split()[0] == "Z":
                _bury(int(pid))
            else:
                found.append(f"process {pid} ({name})")
    return sorted(found)


def _bury(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _files(tree: Path) -> set[str]:
    found = set()
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name not in NOT_LOOKED_INTO]
        found.update(os.path.join(folder, name) for name in (*names, *folders))
    return found


def _unfinished(cache: Path) -> set[str]:
    """Of a cache everything may stay but what was never finished."""
    return {str(path) for path in cache.glob(".*")}


def _mounts(places: tuple[Path, ...]) -> set[str]:
    rows = Path("/proc/self/mounts").read_text().splitlines()
    return {row.split()[1] for row in rows if any(str(place) in row for place in places)}


class Before:
    """How things stood before the run."""

    def __init__(self, tree: Path, cache: Path, temporary: Path):
        self.tree, self.cache, self.temporary = tree, cache, temporary
        self._processes = processes()
        self._seen = self._look()

    def _look(self) -> dict[str, set[str]]:
        return {
            "file": _files(self.temporary) | _unfinished(self.cache)
            | {path for path in _files(self.tree) if PRODUCTS.search(os.path.basename(path))},
            "mount": _mounts((self.tree, self.cache, self.temporary)),
        }

    def left(self) -> list[str]:
        """One line for each thing that is there now and was not before."""
        rows = [row for row in processes() if row not in self._processes]
        for kind, things in self._look().items():
            rows += [f"{kind} {name}" for name in sorted(things - self._seen[kind])]
        return rows
