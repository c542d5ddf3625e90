"""The kernel's command line: what the judge wants of whatever kernel it runs."""

from __future__ import annotations

from typing import Mapping, Sequence

# The allocator's own checks: freed memory is poisoned and checked, so that use after
# free, double free and overruns are reported; user tracking names who allocated it.
# Only for sizes that a message can have: the kernel itself lives in the small ones.
_SIZES = ("64", "96", "128", "192", "256", "512", "1k", "2k", "4k", "8k")
_CACHES = ",".join(f"kmalloc-{n},kmalloc-cg-{n}" for n in _SIZES)
# Who allocated and who freed a piece of memory is two walks through the stack, and which cgroup
# is to pay for it costs each system call: an eighth of the work of all tests.
REMEMBERS, FORGETS = "slub_debug=FZPU,", "slub_debug=FZP,"
UNCHARGED = "cgroup_disable=memory"
SLUB_DEBUG = f"{REMEMBERS}{_CACHES}"

# For every kernel.
ALWAYS = (
    # Warnings and worse: each character on the console takes longer than the code that
    # it tells of. The whole log is in the guest's memory, for dmesg and for failed tests.
    "loglevel=5",
    # A rate limit would drop our marks, and a panic must end the VM at once.
    "printk.devkmsg=on", "panic=-1", "printk.time=1",
    # Zeroed memory would hide what a driver forgot to set.
    "init_on_alloc=0",
    # Each rmmod waits for grace periods.
    "rcupdate.rcu_expedited=1",
    # Costs time on every system call.
    "mitigations=off",
)  # fmt: skip

# For a kernel that has the option.
WITH = {
    # All reports, not only the first since boot: the saved VM serves many tests.
    "CONFIG_KASAN": ("kasan_multi_shot",),
    # A for what can be made to fail: all but what the kernel's checkers allocate for themselves,
    # see userland/tests/inject.c.
    "CONFIG_FAILSLAB": ("slub_debug=A;-,kmemleak_object,debug_objects_cache",),
    # These cost time on every call.
    "CONFIG_SECURITY_APPARMOR": ("apparmor=0",),
    "CONFIG_AUDIT": ("audit=0",),
}

# For a kernel that has not.
WITHOUT = {
    # KASAN finds the same and more, at once and not when the memory is used again.
    "CONFIG_KASAN": (SLUB_DEBUG,),
}


def remembers(options: Sequence[str]) -> bool:
    """Does a report of the allocator's own checks name who allocated and who freed?"""
    return any(word.startswith(REMEMBERS) for word in options)


def lean(options: Sequence[str]) -> tuple[str, ...]:
    """The same for a crowd of tests: all is found that was, and a report tells less of before."""
    if not remembers(options):
        return tuple(options)
    return (*(word.replace(REMEMBERS, FORGETS) for word in options), UNCHARGED)


def options(config: Mapping[str, str]) -> tuple[str, ...]:
    """What to boot a kernel of this config with."""
    found = list(ALWAYS)
    for table, having in ((WITH, True), (WITHOUT, False)):
        for option, words in table.items():
            if (config.get(option) == "y") == having:
                found += [word for word in words if word not in found]
    return tuple(found)
