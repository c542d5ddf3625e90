"""KVM or emulation? Decided by a guest that really boots, not by a device node.

/dev/kvm can be there, open without an error, and then hang or abort the first
guest: nested virtualization does that. So the answer comes from one trial boot
with a deadline, and is remembered until this machine boots again.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from . import cache
from .vm import Machine, VmGone, boot

KVM = Path("/dev/kvm")
# With a working KVM PID 1 is there in a second; without one it never is.
TRIAL_SECONDS = 8


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _remembered(image: Path | None = None) -> tuple[str, str] | None:
    try:
        note = json.loads((cache.root() / "accel.json").read_text())
        if note["boot_id"] == _boot_id() and (image is None or note["image"] == str(image)):
            return note["accel"], note["why"]
    except (OSError, ValueError, KeyError):
        pass
    return None


def _obvious() -> tuple[str, str] | None:
    if not KVM.exists():
        return "tcg", "emulated: no /dev/kvm here"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg", "emulated: you may not use /dev/kvm"
    return None


def known() -> tuple[str, str]:
    """What is known without trying: ('kvm', 'tcg' or 'unknown', the reason in words)."""
    return _obvious() or _remembered() or ("unknown", "/dev/kvm is there; not tried yet")


def choose(machine: Machine) -> tuple[str, str]:
    """What to use for this machine, tried out if need be."""
    answer = _obvious() or _remembered(machine.image)
    if answer:
        return answer
    print(f"Trying whether KVM works here (at most {TRIAL_SECONDS} s, once per boot) ...", flush=True)
    try:
        boot(replace(machine, accel="kvm"), TRIAL_SECONDS).kill()
        answer = "kvm", "KVM"
    except VmGone:
        answer = "tcg", "emulated: KVM boots no guest here"
    note = {"boot_id": _boot_id(), "image": str(machine.image), "accel": answer[0], "why": answer[1]}
    cache.write_atomic(cache.root() / "accel.json", json.dumps(note))
    return answer
