"""VMs that have booted once: saved, and resumed from that in a fraction of a second.

The folder is named by everything it depends on (QEMU, kernel, initramfs, options,
the CPU's model), so a stale one is never looked at. Its checksum is verified
while QEMU is already reading it; on any doubt it is thrown away and made again.
To read 256 MB takes as long as to resume: so it is done once after each boot of this
machine, and again when the kernel says that a file has been touched since.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import threading
import time
from functools import lru_cache
from pathlib import Path

from . import cache
from .errors import CannotTest
from .vm import Machine, Vm, VmGone, boot

# A debug kernel takes ten seconds on a machine of its own, and minutes on one that is shared.
BOOT_SECONDS = 400
RESUME_SECONDS = 30
# What the checksum reads at once: enough to let go of Python's lock meanwhile.
CHUNK = 1 << 20
# A file that is younger may change once more without a new time (see git's "racy" index).
SETTLED_NS = 2 * 10**9
# Saved VMs to keep: one for each kernel and each state of the tests, lately used.
KEEP = 20


@lru_cache(maxsize=None)
def _qemu_version(qemu: str) -> str:
    path = shutil.which(qemu)
    if not path:
        raise CannotTest(f"{qemu} is not installed; `make doctor` tells more")
    status = os.stat(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"


@lru_cache(maxsize=None)
def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.partition(":")[2].strip()
    return ""


def _key(machine: Machine) -> str:
    command = [word for word in machine.command() if word not in (str(machine.image), str(machine.initrd))]
    image = machine.image.stat()
    host = _cpu_model() if machine.accel == "kvm" else ""
    return "snapshot-" + cache.digest(
        *command, _qemu_version(machine.arch.qemu), host,
        str(machine.image), str(image.st_size), str(image.st_mtime_ns), str(machine.initrd),
    )  # fmt: skip


def _checksum(folder: Path) -> str:
    """Of both files; zeros in the memory, most of it, only count by what comes after them."""
    digest = hashlib.sha256((folder / "state").read_bytes())
    zeros = bytes(CHUNK)
    with open(folder / "ram", "rb", buffering=0) as ram:
        for number in itertools.count():
            chunk = ram.read(CHUNK)
            if not chunk:
                return digest.hexdigest()
            if chunk != zeros:
                digest.update(b"%d:" % number)
                digest.update(chunk)


def _state_of_files(folder: Path) -> str:
    """What changes whenever one of them is written to, or is another file; "" if just now."""
    found = [Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    for name in ("state", "ram"):
        status = os.stat(folder / name)
        if time.time_ns() - max(status.st_ctime_ns, status.st_mtime_ns) < SETTLED_NS:
            return ""
        found.append(f"{status.st_dev} {status.st_ino} {status.st_size} "
                     f"{status.st_mtime_ns} {status.st_ctime_ns}")  # fmt: skip
    return "\n".join(found)


def _verified(folder: Path) -> str:
    """The checksum; as it was found since the last boot, if nobody has touched the files."""
    note = folder / "verified.json"
    state = _state_of_files(folder)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        before = json.loads(note.read_text())
        if state and before["files"] == state:
            return str(before["sha256"])
    found = _checksum(folder)
    if state and state == _state_of_files(folder):
        with contextlib.suppress(OSError, CannotTest):
            cache.write_atomic(note, json.dumps({"files": state, "sha256": found}))
    return found


def _make(machine: Machine, folder: Path) -> None:
    start = time.monotonic()
    with boot(machine, BOOT_SECONDS) as vm:
        vm.save(folder)
    (folder / "about.json").write_text(
        json.dumps(
            {
                "sha256": _checksum(folder),
                "seconds": round(time.monotonic() - start, 2),
                "command": machine.command(),
            },
            indent=1,
        )
    )


def prepare(machine: Machine) -> Path:
    """The folder of the saved VM, made if it is not there."""
    key = _key(machine)
    if not (cache.root() / key).exists():
        print(f"Booting a VM with {machine.cpus} CPU{'s' * (machine.cpus > 1)} once, "
              "to resume from that later ...", flush=True)  # fmt: skip
    try:
        return cache.use(cache.build_once(key, lambda folder: _make(machine, folder)), KEEP)
    except VmGone as gone:
        raise CannotTest(f"the VM does not boot: {gone}") from None


class Resuming:
    """A VM on its way back: started at once, checked and greeted by ready().

    Between the two the caller can do something useful, such as compile.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        self._abandoned = False
        self._start()

    def _start(self) -> None:
        self.folder = prepare(self.machine)
        # Held open: as long as it is, no other folder can get its inode number.
        self._held = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        self.vm = Vm(self.machine, restore=self.folder)
        self._sum = ""
        self._checker = threading.Thread(target=self._check)
        self._checker.start()

    def _check(self) -> None:
        try:
            self._sum = _verified(self.folder)
        except OSError:
            self._sum = "unreadable"

    def _greet(self) -> str:
        seed = os.urandom(16).hex()
        try:
            wanted = json.loads((self.folder / "about.json").read_text())["sha256"]
            self.vm.wait_resumed(RESUME_SECONDS)
            answer = self.vm.ask("hello", str(int(time.time())), seed, seconds=RESUME_SECONDS)
        except (VmGone, OSError, ValueError, KeyError, TypeError) as error:
            return str(error) or type(error).__name__
        self._checker.join()
        if self._sum != wanted:
            return "its checksum is wrong"
        return "" if answer == f"@hello {seed}" else "it answers out of turn"

    def ready(self) -> Vm:
        """The VM, resumed from a state known to be whole; made again once if it was not."""
        trouble = self._greet()
        if trouble and self._abandoned:
            raise VmGone("nobody waits for this VM any more")
        if trouble:
            self._end()
            print(f"The saved VM cannot be used ({trouble}); making it again.", flush=True)
            self._throw_away()
            self._start()
            trouble = self._greet()
        if trouble:
            self.close()
            raise CannotTest(f"the VM does not resume: {trouble}")
        return self.vm

    def abandon(self) -> None:
        """From another thread: whoever waits for this VM gets VmGone, and no other VM."""
        self._abandoned = True
        self.vm.abandon()

    def _throw_away(self) -> None:
        """The folder is gone at once: nobody may come upon half of it."""
        aside = cache.root() / f"{cache.MAKING}{self.folder.name}.{os.getpid()}-{id(self)}"
        try:
            # Not if somebody with the same trouble has made another one meanwhile.
            if os.path.samestat(self.folder.stat(), os.fstat(self._held)):
                self.folder.rename(aside)
        except FileNotFoundError:
            pass
        self._release()
        cache.remove(aside)

    def __enter__(self) -> "Resuming":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._end()
        self._release()

    def _end(self) -> None:
        self._checker.join()
        self.vm.kill()

    def _release(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
