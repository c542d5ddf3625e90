"""What some tests need that not every kernel or machine has: such a test is left out there.

A test says so by a word (see .needs in userland/tests/harness.h). Whether the need is met
is decided here, before a VM is started, and where it is not, that is said in one line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Sequence

from . import arch, image
from .kernel import Kernel
from .tests import TestInfo

# The last one: a call that fails and loses memory is to be told.
FAULT_OPTIONS = (
    "CONFIG_FAULT_INJECTION",
    "CONFIG_FAULT_INJECTION_DEBUG_FS",
    "CONFIG_FAILSLAB",
    "CONFIG_FAIL_PAGE_ALLOC",
    "CONFIG_FAULT_INJECTION_USERCOPY",
    "CONFIG_FAULT_INJECTION_STACKTRACE_FILTER",
    "CONFIG_DEBUG_KMEMLEAK",
)


@dataclass(frozen=True)
class Need:
    """What the tests with that need are, and why they cannot be run: empty if they can."""

    says: str
    why_not: Callable[[Kernel], str]


def _no_fault_injection(kernel: Kernel) -> str:
    lacking = [option for option in FAULT_OPTIONS if kernel.config.get(option) != "y"]
    return f"this kernel has no {lacking[0]}" if lacking else ""


def _no_32_bits(kernel: Kernel) -> str:
    return image.why_not_32_bits(arch.host(), kernel)


NEEDS = {
    "32-bit-programs": Need("that are 32-bit programs", _no_32_bits),
    "fault-injection": Need("that make allocations and copies fail", _no_fault_injection),
}


def runnable(tests: Sequence[TestInfo], kernel: Kernel) -> tuple[list[TestInfo], list[str]]:
    """The tests that can be run, and a line about each kind of the others."""
    left, said = list(tests), []
    for word, need in NEEDS.items():
        count = sum(word in test.needs for test in left)
        why = need.why_not(kernel) if count else ""
        if why:
            left = [test for test in left if word not in test.needs]
            said.append(f"without the tests {need.says} ({count}): {why}")
    return left, said
