"""A VM made ready for a person: the module in the student's home, loaded or not."""

from __future__ import annotations

from . import klog
from .build import Built
from .session import HOME
from .stages import Stage
from .vm import Vm, VmGone

# Loading runs the student's code: it may take for ever.
LOAD_SECONDS = 30


class LoadFailed(Exception):
    """insmod refused the module; the text says why."""


def bring(vm: Vm, stage: Stage, built: Built) -> None:
    """Puts the module where the lab plan's own `insmod kmsgpipe_....ko` finds it."""
    vm.put(f"{HOME}/{stage.module}.ko", built.stripped)


def load(vm: Vm, stage: Stage, params: str = "") -> None:
    vm.command("run", "0", "/bin/insmod", f"{HOME}/{stage.module}.ko", *params.split())
    said = []
    while True:
        line = vm.line(LOAD_SECONDS, "end of insmod")
        if line.startswith("@exit "):
            break
        said.append(line)
    if line != "@exit 0":
        why = [text for text in said if not text.startswith("@")] or [f"insmod: {line[1:]}"]
        raise LoadFailed("; ".join([*why, *_last_words(vm, stage)]))


def _last_words(vm: Vm, stage: Stage) -> list[str]:
    lines = [klog.strip_stamp(raw) for raw in vm.log_lines()]
    return [line for line in lines if line.startswith(f"{stage.module}: ")][-1:]


def reports(vm: Vm, stage: Stage) -> list[klog.Report]:
    """What the kernel has complained about since the VM was resumed."""
    lines = [klog.strip_stamp(raw) for raw in vm.log_lines()]
    return klog.reports(lines, stage.module)


def trouble(vm: Vm, stage: Stage, gone: VmGone | None = None) -> str:
    """One line on what is wrong with this VM, '' if nothing is."""
    try:
        # What the kernel says of its end arrives behind it.
        while True:
            before = len(vm.log)
            vm.pump(0.05 if gone else 0)
            if len(vm.log) == before:
                break
    except VmGone:
        pass
    found = reports(vm, stage)
    if found:
        return f"the kernel reports: {found[0].headline}. {found[0].kind.means}"
    if vm.log_overflow:
        return "the module floods the kernel log"
    return str(gone) if gone else ""
