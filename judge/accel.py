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


def _notes() -> dict[str, list[str]]:
    """What trial boots since this machine's own boot have shown, by kernel image."""
    try:
        notes = json.loads((cache.root() / "accel.json").read_text())
        return dict(notes["kernels"]) if notes["boot_id"] == _boot_id() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _obvious() -> tuple[str, str] | None:
    if not KVM.exists():
        return "tcg", "emulated: no /dev/kvm here"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg", "emulated: you may not use /dev/kvm"
    return None


def known() -> tuple[str, str]:
    """What is known without trying: ('kvm', 'tcg' or 'unknown', the reason in words)."""
    tried = list(_notes().values())
    return _obvious() or tuple(tried[-1] if tried else ("unknown", "/dev/kvm: not tried yet"))


def choose(machine: Machine) -> tuple[str, str]:
    """What to use for this machine, tried out if need be."""
    answer = _obvious() or _notes().get(str(machine.image))
    if answer:
        return tuple(answer)
    print(f"Trying whether KVM works here (at most {TRIAL_SECONDS} s, once per boot) ...", flush=True)
    try:
        boot(replace(machine, accel="kvm"), TRIAL_SECONDS).kill()
        answer = "kvm", "KVM"
    except VmGone:
        answer = "tcg", "emulated: KVM boots no guest here"
    notes = {**_notes(), str(machine.image): answer}
    text = json.dumps({"boot_id": _boot_id(), "kernels": notes}, indent=1)
    cache.write_atomic(cache.root() / "accel.json", text)
    return answer
