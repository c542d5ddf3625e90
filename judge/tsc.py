"""How fast this machine's TSC counts: an emulated guest has the same one, and is told.

A guest that finds out by itself counts while a timer runs. On a busy machine it is
interrupted meanwhile: once it took 2100 MHz for 48, and all its clocks ran 44 times too
fast, so that every test ran into its time-out.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import platform
import time
from functools import lru_cache
from pathlib import Path
from typing import Callable

from . import cache

# rdtsc; shl $32, %rdx; or %rdx, %rax; ret
CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")
SECONDS = 0.1
TRIES = 20
OPTION = "tsc_early_khz"


def _reader(page: mmap.mmap) -> Callable[[], int]:
    page.write(CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(address)


def _moment(read: Callable[[], int]) -> tuple[int, int]:
    """Ticks and nanoseconds of one moment: of some tries, that in which least came between."""
    tries = []
    for _ in range(TRIES):
        before, ticks, after = time.monotonic_ns(), read(), time.monotonic_ns()
        tries.append((after - before, ticks, (before + after) // 2))
    return min(tries)[1:]


def measure() -> int | None:
    """kHz; None where programs may not make code, or the machine is no x86."""
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    read = _reader(page)
    ticks, ns = _moment(read)
    time.sleep(SECONDS)
    more_ticks, later = _moment(read)
    return (more_ticks - ticks) * 1_000_000 // (later - ns)


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""


@lru_cache(maxsize=None)
def options() -> tuple[str, ...]:
    """For the kernel's command line. The same each time: saved VMs depend on it."""
    note, model = cache.root() / "tsc.json", _model()
    try:
        known = {str(name): int(khz) for name, khz in json.loads(note.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        known = {}
    if model not in known:
        khz = measure()
        if not khz:
            return ()
        known[model] = khz
        cache.write_atomic(note, json.dumps(known, indent=1) + "\n")
    return (f"{OPTION}={known[model]}",)
