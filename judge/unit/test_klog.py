"""The kernel's log: what is a report, what is not, and whose it is.

judge/unit/logs/ holds whole logs as Debian's 6.1 and 6.12 printed them, of modules
with one planted mistake each. The rest are first lines, in the wording of the kernel's
source (6.1 to 6.12), of what the stock kernels cannot be made to say.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from judge import klog

LOGS = Path(__file__).with_name("logs")
MODULE = "kmsgpipe_wait"

# log -> the kind of its first report, and the functions that it places in the module
WHOLE = {
    "null": ("null-pointer", {"at": "kmsgpipe_write"}),
    "warntext": ("warning", {"at": "kmsgpipe_write"}),
    "bug": ("bug", {"at": "kmsgpipe_write"}),
    "div": ("divide", {"at": "kmsgpipe_write"}),
    "uaf-write": ("use-after-free", {"kmalloc": "kmsgpipe_write", "kfree": "kmsgpipe_read",
                                     "found": ""}),
    "double-kfree": ("double-free", {"kmalloc": "kmsgpipe_write", "kfree": "kmsgpipe_read",
                                     "at": "kmsgpipe_read"}),
    "double-del": ("list", {"at": "kmsgpipe_read"}),
    "usercopy": ("usercopy", {"at": "kmsgpipe_read"}),
    "uaf-read": ("wild-access", {"at": "kmsgpipe_read"}),
    "sleep-atomic": ("scheduling-while-atomic", {"at": "kmsgpipe_write"}),
    "userptr": ("user-access", {"at": "kmsgpipe_read"}),
}  # fmt: skip

# How a report starts -> its kind
STARTS = {
    "BUG: KASAN: use-after-free in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "use-after-free",
    "BUG: KASAN: slab-use-after-free in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "use-after-free",
    "BUG: KASAN: slab-out-of-bounds in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "slab-out-of-bounds",
    "BUG: KASAN: stack-out-of-bounds in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "stack-out-of-bounds",
    "BUG: KASAN: double-free or invalid-free in kfree+0x1/0x2": "double-free",
    "BUG: KASAN: double-free in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "double-free",
    "BUG: KASAN: invalid-free in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "invalid-free",
    "BUG: KASAN: null-ptr-deref in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "null-pointer",
    "BUG: KASAN: user-memory-access in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "user-access",
    "BUG: KASAN: wild-memory-access in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "wild-access",
    "BUG: KFENCE: use-after-free read in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "use-after-free",
    "BUG: KFENCE: memory corruption in kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "out-of-bounds",
    "BUG kmalloc-64 (Tainted: G           OE     ): Poison overwritten": "use-after-free",
    "BUG kmalloc-64 (Not tainted): Poison overwritten": "use-after-free",
    "BUG kmalloc-64 (Tainted: G    B      OE     ): Object already free": "double-free",
    "BUG kmalloc-64 (Tainted: G           OE     ): Right Redzone overwritten": "slab-out-of-bounds",
    "BUG kmalloc-64 (Tainted: G           OE     ): Left Redzone overwritten": "slab-out-of-bounds",
    "BUG kmalloc-64 (Tainted: G           OE     ): kmalloc Redzone overwritten": "slab-out-of-bounds",
    "[Poison overwritten] 0xffff8880-0xffff8880 @offset=344. First byte": "use-after-free",
    "[Right Redzone overwritten] 0xffff8880-0xffff8880 @offset=344. First byte": "slab-out-of-bounds",
    "[Padding overwritten] 0xffff8880-0xffff8880 @offset=344. First byte": "slab",
    "BUG kmsg (Tainted: G OE): Objects remaining in kmsg on __kmem_cache_shutdown()": "leak",
    "BUG kmalloc-64 (Tainted: G           OE     ): Freepointer corrupt": "slab",
    "BUG kmalloc-64 (Tainted: G           OE     ): Invalid object pointer 0x0": "invalid-free",
    "list_add corruption. prev->next should be next (ffff8880, but was dead0001).": "list",
    "list_add corruption. next->prev should be prev (ffff8880), but was 0. (next=ff).": "list",
    "list_add double add: new=ffff888004d2c0c0, prev=ffff8880, next=ffff8880.": "list",
    "list_del corruption, ffff888004d2c0c0->next is LIST_POISON1 (dead000000000100)": "list",
    "list_del corruption. prev->next should be ffff8880, but was 6b6b6b6b6b6b6b6b.": "list",
    "usercopy: Kernel memory exposure attempt detected from SLUB object 'kmalloc-64'": "usercopy",
    "usercopy: Kernel memory overwrite attempt detected to SLUB object 'kmalloc-64'": "usercopy",
    "detected buffer overflow in strcpy": "fortify",
    "strcpy: detected buffer overflow: 9 byte write of buffer size 8": "fortify",
    "memcpy: detected field-spanning write (size 9) of single field \"a\" at x.c:9": "fortify",
    "general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: "
    "0000 [#1] PREEMPT SMP NOPTI": "wild-access",
    "Oops: general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: "
    "0000 [#1] PREEMPT SMP NOPTI": "wild-access",
    "general protection fault: 0000 [#1] PREEMPT SMP NOPTI": "wild-access",
    "BUG: kernel NULL pointer dereference, address: 0000000000000008": "null-pointer",
    "BUG: unable to handle page fault for address: ffffc90000a3b000": "wild-access",
    "BUG: unable to handle page fault for address: 00007ffd1c2b4f10": "user-access",
    "Unable to handle kernel NULL pointer dereference at virtual address 08": "wild-access",
    "divide error: 0000 [#1] PREEMPT SMP NOPTI": "divide",
    "Oops: divide error: 0000 [#1] PREEMPT SMP NOPTI": "divide",
    "kernel BUG at mm/slub.c:435!": "bug",
    "invalid opcode: 0000 [#1] PREEMPT SMP NOPTI": "oops",
    "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI": "oops",
    "Oops: 0002 [#1] PREEMPT SMP NOPTI": "oops",
    "WARNING: CPU: 1 PID: 81 at x.c:12 kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]": "warning",
    "WARNING: x.c:12 at kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait], CPU#1: cat/81": "warning",
    "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [kmsgpipe-test:82]": "soft-lockup",
    "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0": "hard-lockup",
    "watchdog: Watchdog detected hard LOCKUP on cpu 0": "hard-lockup",
    "INFO: task kmsgpipe-test:82 blocked for more than 120 seconds.": "hung-task",
    "INFO: task insmod:82 blocked for more than 10 seconds.": "hung-task",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:": "rcu-stall",
    "rcu: INFO: rcu_preempt self-detected stall on CPU": "rcu-stall",
    "rcu: INFO: rcu_sched self-detected stall on CPU": "rcu-stall",
    "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-.... }": "rcu-stall",
    "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 31s!": "work-stall",
    "Kernel panic - not syncing: Fatal exception": "panic",
    "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: f+0x1/0x2": "stack",
    "BUG: TASK stack guard page was hit at 00000000f4d6a (stack is 000000)": "stack-full",
    "WARNING: possible circular locking dependency detected": "circular-locking",
    "WARNING: possible recursive locking detected": "recursive-locking",
    "WARNING: possible irq lock inversion dependency detected": "irq-unsafe-lock",
    "WARNING: inconsistent lock state": "irq-unsafe-lock",
    "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected": "irq-unsafe-lock",
    "WARNING: lock held when returning to user space!": "lock-held-at-return",
    "BUG: kmsgpipe-test/81 still has locks held!": "lock-held-at-return",
    "WARNING: held lock freed!": "lock-freed",
    "WARNING: bad unlock balance detected!": "bad-unlock",
    "DEBUG_LOCKS_WARN_ON(lock->magic != lock)": "lock-damaged",
    "INFO: trying to register non-static key.": "lock-unset",
    "BUG: spinlock bad magic on CPU#0, kmsgpipe-test/81": "lock-damaged",
    "BUG: spinlock recursion on CPU#0, kmsgpipe-test/81": "lock-damaged",
    "[ BUG: Invalid wait context ]": "invalid-wait",
    "WARNING: suspicious RCU usage": "rcu",
    "BUG: sleeping function called from invalid context at mm/slab.h:494": "sleep-in-atomic",
    "BUG: scheduling while atomic: kmsgpipe-test/81/0x00000002": "scheduling-while-atomic",
    "BUG: using __this_cpu_add() in preemptible [00000000] code: cat/81": "preemptible",
    "do not call blocking ops when !TASK_RUNNING; state=1 set at f+0x1/0x2":
        "blocking-while-not-running",
    "ODEBUG: free active (active state 0) object type: timer_list hint: f+0x0/0x90 [m]": "active-timer-freed",
    "ODEBUG: free active (active state 0) object: ffff object type: work_struct hint: f": "active-work-freed",
    "UBSAN: array-index-out-of-bounds in x.c:12:9": "ubsan",
    "UBSAN: shift-out-of-bounds in x.c:12:9": "ubsan",
    "refcount_t: underflow; use-after-free.": "refcount",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)": "leak",
    "BUG: KCSAN: data-race in kmsgpipe_poll [kmsgpipe_wait] / kmsgpipe_write": "race",
    "sysfs: cannot create duplicate filename '/class/kmsgpipe'": "duplicate",
}  # fmt: skip

# What drivers, users and a healthy but slow kernel say.
HARMLESS = (
    "kmsgpipe_wait: WARNING: queue full",
    "kmsgpipe_wait: BUG: unable to handle page fault for address: 0",
    "kmsgpipe_wait: WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2 [kmsgpipe_wait]",
    "kmsgpipe_wait: list_del corruption",
    "kmsgpipe_wait: Oops: the queue is full",
    "kmsgpipe kmsgpipe0: BUG kmalloc-64 (Not tainted): Poison overwritten",
    "BUG: the queue is full",
    "BUG",
    "BUG 17 in my driver",
    "WARNING: queue full",
    "WARNING",
    "INFO: a message has arrived",
    "Oops, the queue is full",
    "the user wrote: Kernel panic - not syncing",
    "no KASAN here, no UBSAN: either",
    "traps: kmsgpipe-test[81] general protection fault ip:401000 sp:7ffd error:0 in kmsgpipe-test",
    "kmsgpipe-test[81]: segfault at 0 ip 0000000000401000 sp 00007ffd error 4 in kmsgpipe-test",
    "kmsgpipe_wait: loading out-of-tree module taints kernel.",
    "kmsgpipe_wait: module verification failed: signature and/or required key missing",
    "hrtimer: interrupt took 12345678 ns",
    "clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable",
    "workqueue: cleanup_work [kmsgpipe_wait] hogged CPU for >10000us 4 times",
    "sched: RT throttling activated",
    "kmsgpipe_read: 12 callbacks suppressed",
    "kmemleak: Kernel memory leak detector initialized (mem pool available: 15793)",
    "rcu: Hierarchical SRCU implementation.",
    "sysrq: Show Blocked State",
)


class Reports(unittest.TestCase):
    def test_whole_logs(self) -> None:
        seen = set()
        for path in sorted(LOGS.glob("*.log")):
            kind, functions = WHOLE[path.stem.partition("-")[2]]
            seen.add(path.stem.partition("-")[2])
            with self.subTest(path.name):
                lines = [klog.strip_stamp(line) for line in path.read_text().split("\n")]
                part = klog.part_of(lines, "first_in_first_out")
                found = klog.reports(part.inside, MODULE)
                self.assertEqual(found[0].kind.name, kind)
                places = {word: place[0] for word, place in found[0].places.items()}
                # Which call comes upon the damage is a matter of chance.
                self.assertEqual(places.keys(), functions.keys())
                self.assertEqual({**places, "found": ""}, {**functions, "found": ""})
                self.assertLess(len(found), 12)
                self.assertEqual(part.before, [])
        self.assertEqual(seen, set(WHOLE))

    def test_starts(self) -> None:
        for start, kind in STARTS.items():
            with self.subTest(start):
                found = klog.reports(["kmsgpipe_wait: hello", start, "more"], MODULE)
                self.assertEqual([report.kind.name for report in found], [kind])
                self.assertEqual(found[0].headline, start)

    def test_stamps(self) -> None:
        start = "BUG: kernel NULL pointer dereference, address: 0"
        for stamp in ("[    3.141592] ", "<1>[    3.141592] ", "[  123.456789][   T81] ",
                      "[12345.678901][    C1] ", ""):  # fmt: skip
            self.assertEqual(klog.strip_stamp(f"{stamp}{start}\r"), start)

    def test_harmless(self) -> None:
        for line in HARMLESS:
            with self.subTest(line):
                self.assertEqual(klog.reports([line, "open", "release"], MODULE), [])

    def test_other_wording_needs_proof(self) -> None:
        for cpu in ("CPU: 1 PID: 97 Comm: cat Tainted: G OE 6.1.0",
                    "CPU: 1 UID: 1000 PID: 97 Comm: cat Tainted: G OE 6.12.0"):
            found = klog.reports(["BUG: something new happened", "Modules linked in:", cpu], MODULE)
            self.assertEqual([report.kind.name for report in found], ["other"])
        far = ["BUG: mine", *["x"] * klog.PROOF_LINES, cpu]
        self.assertEqual(klog.reports(far, MODULE), [])

    def test_a_cut_is_a_report_by_itself(self) -> None:
        found = klog.reports(["------------[ cut here ]------------", "of a new form"], MODULE)
        self.assertEqual([report.kind.name for report in found], ["warning"])

    def test_the_text_of_a_warning_decides(self) -> None:
        lines = ["------------[ cut here ]------------",
                 "refcount_t: underflow; use-after-free.",
                 "WARNING: CPU: 0 PID: 81 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110",
                 "---[ end trace 0000000000000000 ]---"]  # fmt: skip
        found = klog.reports(lines, MODULE)
        self.assertEqual([report.kind.name for report in found], ["refcount"])
        self.assertEqual(found[0].lines, lines)

    def test_one_after_the_other(self) -> None:
        warning = ["------------[ cut here ]------------",
                   "WARNING: CPU: 0 PID: 8 at x.c:1 f+0x1/0x2",
                   "---[ end trace 0000000000000000 ]---"]  # fmt: skip
        null = "BUG: kernel NULL pointer dereference, address: 0"
        found = klog.reports([*warning, null, "Oops: 0000 [#1] PREEMPT SMP",
                              "---[ end trace 0000000000000000 ]---",
                              "Kernel panic - not syncing: Fatal exception"], MODULE)  # fmt: skip
        self.assertEqual([report.kind.name for report in found], ["warning", "null-pointer"])

    def test_the_allocator_goes_on(self) -> None:
        head = "BUG kmalloc-64 (Tainted: G    B      OE     ): "
        lines = [head + "Object already free", "FIX kmalloc-64: Object at 0x0 not freed",
                 head + "Slab disabled since SLUB metadata consistency check failed",
                 head + "Wrong object count. Counter is 11 but counted were 15"]  # fmt: skip
        self.assertEqual(len(klog.reports(lines, MODULE)), 1)
        self.assertEqual(len(klog.reports(lines[2:3], MODULE)), 1)

    def test_a_panic_of_its_own(self) -> None:
        found = klog.reports(["Kernel panic - not syncing: by hand"], MODULE)
        self.assertEqual([report.kind.name for report in found], ["panic"])

    def test_frames(self) -> None:
        oops = "BUG: kernel NULL pointer dereference, address: 0"
        for line, place in (
            ("RIP: 0010:f+0x21/0x50 [kmsgpipe_wait]", ("f", 0x21)),
            (" f+0x21/0x50 [kmsgpipe_wait]", ("f", 0x20)),
            (" f.cold+0x21/0x50 [kmsgpipe_wait 3f2a]", ("f.cold", 0x20)),
            (" ? f+0x21/0x50 [kmsgpipe_wait]", None),
            (" f+0x21/0x50 [other]", None),
            (" vfs_write+0xc7/0x3f0", None),
        ):
            with self.subTest(line):
                found = klog.reports([oops, line, " g+0x9/0x10 [kmsgpipe_wait]"], MODULE)
                self.assertEqual(found[0].places["at"], place or ("g", 8))


class Parts(unittest.TestCase):
    LOG = ["kmsgpipe_wait: loaded", "judge: begin a", "1", "judge: end a", "2", "judge: begin ab",
           "3", "judge: end ab", "4"]  # fmt: skip

    def test_each_has_its_lines(self) -> None:
        part = klog.part_of(self.LOG, "a")
        self.assertEqual(part, klog.Part(["kmsgpipe_wait: loaded"], ["1"], True, 4))
        part = klog.part_of(self.LOG[part.taken :], "ab")
        self.assertEqual(part, klog.Part(["2"], ["3"], True, 4))

    def test_no_end_yet(self) -> None:
        part = klog.part_of(["judge: begin ab", "1", "judge: end a", "2"], "ab")
        self.assertEqual(part, klog.Part([], ["1", "2"], False, 4))

    def test_no_begin(self) -> None:
        for lines in (["1", "judge: end a"], ["1"], []):
            part = klog.part_of(lines, "a")
            self.assertEqual((part.before, part.whole, part.taken), ([], False, len(lines)))
            self.assertEqual(part.inside, lines[:1])

    def test_forged_marks(self) -> None:
        for forged in ("judge: end a", "judge: begin a", "judge: begin ab", "judge: end ab"):
            with self.subTest(forged):
                lines = ["judge: begin a", forged, "1", "judge: end a"]
                self.assertEqual(klog.part_of(lines, "a"), klog.Part([], ["1"], True, 4))

    def test_forged_marks_before_it(self) -> None:
        for forged in ("judge: begin ab", "judge: end ab", "judge: end a"):
            lines = [forged, "1", "judge: begin a", "2", "judge: end a"]
            self.assertEqual(klog.part_of(lines, "a"), klog.Part([forged, "1"], ["2"], True, 5))

    def test_a_mark_with_a_name_in_front_is_none(self) -> None:
        lines = ["judge: begin a", "kmsgpipe_wait: judge: end a", "1"]
        self.assertEqual(klog.part_of(lines, "a").whole, False)


SOURCE = """\
static inline int from_header(int *p) __attribute__((always_inline));
#line 7 "/usr/src/linux/include/linux/list.h"
static inline int from_header(int *p) {{ __asm__ volatile ("nop" : : : "memory"); return *p; }}
#line 20 "{folder}/lab/driver.c"
static inline int helper(int *p) __attribute__((always_inline));
static inline int helper(int *p)
{{
\treturn from_header(p) + 1;
}}
int entry(int *p)
{{
\tint a = p[1];

\treturn a * helper(p);
}}
"""


@unittest.skipUnless(shutil.which("gcc") and shutil.which("addr2line"), "needs gcc and binutils")
class Locate(unittest.TestCase):
    def test_line_in_the_tree_and_function(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "lab").mkdir()
            (folder / "lab/driver.c").write_text(SOURCE.format(folder=folder))
            module = folder / "lab/driver.ko"
            subprocess.run(["gcc", "-g", "-O1", "-c", "-o", module, folder / "lab/driver.c"],
                           check=True)  # fmt: skip
            lines = {klog.locate(module, ("entry", offset)) for offset in range(12)}
            named = {(place.rpartition("/")[2], function) for place, function in lines if place}
            self.assertIn(("driver.c:23", "helper"), named)
            self.assertFalse([place for place, _ in named if "list.h" in place])
            self.assertEqual(klog.locate(module, ("nobody", 0)), ("", ""))


class HeldLocks(unittest.TestCase):
    def test_the_one_that_forbids_to_sleep(self) -> None:
        lines = [
            "BUG: sleeping function called from invalid context at lib/usercopy.c:33",
            " #0: ffff8 (&pipe->read_lock){+.+.}-{3:3}, at: first+0x10/0x20 [kmsgpipe_wait]",
            " #1: ffff8 (copy_lock){+.+.}-{2:2}, at: second+0x30/0x40 [kmsgpipe_wait]",
            " #2: ffff8 (other_lock){+.+.}-{2:2}, at: third+0x30/0x40 [kmsgpipe_wait]",
            "Preemption disabled at:",
            "[<ffffffffa0000123>] third+0x30/0x40 [kmsgpipe_wait]",
        ]
        for count, place in (
            (2, ("first", 0xF)), (4, ("second", 0x2F)), (6, ("third", 0x2F)),
        ):  # fmt: skip
            (report,) = klog.reports(lines[:count], "kmsgpipe_wait")
            self.assertEqual(report.places["locked"], place)


class LabKernels(unittest.TestCase):
    """What 6.6 with debug.config printed, shortened."""

    def test_a_report_about_printing_stands_back_behind_the_real_one(self) -> None:
        printing = [
            "WARNING: possible circular locking dependency detected",
            "ffffffff81ecb3c0 (console_owner){....}-{0:0}, at: console_flush_all+0x30d/0x900",
            "---[ end trace 0000000000000000 ]---",
        ]
        real = "BUG: KASAN: invalid-free in kfree+0xd0/0x160"
        both = [report.kind.name for report in klog.reports([*printing, real], MODULE)]
        alone = [report.kind.name for report in klog.reports(printing, MODULE)]
        self.assertEqual((both, alone), (["invalid-free"], ["circular-locking"]))

    def test_who_called_code_that_is_gone(self) -> None:
        caller = " ? caller+0x26/0x30 [kmsgpipe_wait]"
        stale = " ? stale+0x10/0x30 [kmsgpipe_wait]"
        for above in ([caller],
                      [" ? show_regs+0x61/0x70", stale, " ? vfree+0x26/0x30", caller],
                      [" ? show_regs+0x61/0x70", caller, " ? 0xffffffffa0006000"]):  # fmt: skip
            (report,) = klog.reports([
                "BUG: unable to handle page fault for address: ffffc90000039000",
                "#PF: supervisor instruction fetch in kernel mode",
                "RIP: 0010:0xffffc90000039000",
                "Call Trace:",
                " <TASK>",
                *above,
                " above+0xe/0x1000 [kmsgpipe_wait]",
                stale,
                " do_one_initcall+0x4e/0x310",
            ], MODULE)  # fmt: skip
            self.assertEqual(report.places["at"], ("caller", 0x25), above)

    def test_who_went_too_deep(self) -> None:
        (report,) = klog.reports([
            "BUG: TASK stack guard page was hit at ffffc90000187ff8",
            "RIP: 0010:deeper+0x9/0x30 [kmsgpipe_wait]",
            "Call Trace:",
            " <TASK>",
            " deeper+0x1c/0x30 [kmsgpipe_wait]",
        ], MODULE)  # fmt: skip
        self.assertEqual((report.kind.name, report.places["at"]), ("stack-full", ("deeper", 0x1B)))

    def test_who_called_what_is_no_code(self) -> None:
        (report,) = klog.reports([
            "kernel tried to execute NX-protected page - exploit attempt? (uid: 0)",
            "BUG: unable to handle page fault for address: ffffffffa0002580",
            "RIP: 0010:data+0x0/0xffffffffffffea80 [kmsgpipe_wait]",
            "Call Trace:",
            " <TASK>",
            " ? caller+0x12/0x20 [kmsgpipe_wait]",
            " above+0xe/0x1000 [kmsgpipe_wait]",
        ], MODULE)  # fmt: skip
        self.assertEqual(report.places["at"], ("caller", 0x11))

    def test_a_loop_interrupted_as_it_calls_something(self) -> None:
        for headline in ("watchdog: Watchdog detected hard LOCKUP on cpu 0",
                         "watchdog: BUG: soft lockup - CPU#1 stuck for 3s! [kmsgpipe-test:46]",
                         "rcu: INFO: rcu_preempt self-detected stall on CPU"):  # fmt: skip
            (report,) = klog.reports([
                headline,
                "RIP: 0010:__asan_load8+0x4/0xa0",
                "Call Trace:",
                " <TASK>",
                " ? loop+0xdf/0x140 [kmsgpipe_wait]",
                " above+0xe/0x1000 [kmsgpipe_wait]",
            ], MODULE)  # fmt: skip
            self.assertEqual(report.places["at"], ("loop", 0xde), headline)

    def test_where_a_lock_let_in_the_interrupts_that_matter(self) -> None:
        for unsafe, place in (("SOFTIRQ", ("f", 0x67)), ("HARDIRQ", ("f", 0x43))):
            (report,) = klog.reports([
                "WARNING: possible irq lock inversion dependency detected",
                f"but this lock took another, {unsafe}-unsafe lock in the past:",
                "    HARDIRQ-ON-W at:",
                "                      f+0x44/0xd0 [kmsgpipe_wait]",
                "    SOFTIRQ-ON-W at:",
                "                      f+0x68/0xd0 [kmsgpipe_wait]",
            ], MODULE)  # fmt: skip
            self.assertEqual(report.places["earlier"], place)


if __name__ == "__main__":
    unittest.main()
