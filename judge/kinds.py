"""The kinds of kernel reports: how each starts, what it means, what mostly causes it here.

A report's first line decides its kind, and sometimes a line soon after it says more. The
sentences are for a student who has never seen such a report: one of what happened, one of
what usually causes it in this course. docs/reports.md is written from this table.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Iterator


@dataclass(frozen=True)
class Kind:
    """A kind of kernel report in plain words.

    causes has a sentence for each lab from which on it is the usual cause, 1 at least: what
    a lab teaches is what its students get wrong.
    """

    name: str
    means: str
    causes: dict[int, str] = field(hash=False)
    example: str = ""  # a first line

    def cause(self, stage_number: int) -> str:
        """The usual cause in that stage."""
        return self.causes[max((n for n in self.causes if n <= stage_number), default=1)]


TABLE = (
    # -- memory ---------------------------------------------------------------------------
    Kind("use-after-free",
         "The code used memory after kfree() had given it back.",
         {1: "An error path or the exit function frees what an open file still uses.",
          2: "A message is freed before list_del(), its length is read after kfree(), or a loop "
             "frees entries without list_for_each_entry_safe().",
          3: "The lock was given up between finding the message and taking it, so another "
             "process took it and freed it meanwhile.",
          5: "The timer or the work still ran when its memory was freed, or the cleanup freed "
             "the message that a reader was copying."},
         "BUG: KASAN: slab-use-after-free in kmsgpipe_read+0x1c/0x90 [kmsgpipe_buffered]"),
    Kind("double-free",
         "The code called kfree() a second time for the same object.",
         {1: "Two paths free the same memory, mostly an error path and its caller.",
          2: "A message is freed but stays in the list, or both the failing function and its "
             "caller free it.",
          3: "Two readers took the same message, because finding it and list_del() are not "
             "under one hold of the lock."},
         "BUG: KASAN: double-free in kmsgpipe_read+0x1c/0x90 [kmsgpipe_buffered]"),
    Kind("invalid-free",
         "The code called kfree() for something that kmalloc() never gave out.",
         {1: "The pointer leads into an object, not to its begin, or to a static variable.",
          2: "kfree() got msg->data, or the list's head, in place of the message."},
         "BUG: KASAN: invalid-free in kmsgpipe_read+0x1c/0x90 [kmsgpipe_buffered]"),
    Kind("slab-out-of-bounds",
         "The code read or wrote beyond the end of an allocated object.",
         {1: "The length came from user space and was not checked against the buffer's size.",
          2: "kmalloc() got the length of the text alone, without struct kmsg in front of it: "
             "struct_size() adds both.",
          4: "The copy has the length that the caller asked for, not the length of the message."},
         "BUG: KASAN: slab-out-of-bounds in kmsgpipe_write+0x9c/0x1b0 [kmsgpipe_buffered]"),
    Kind("stack-out-of-bounds",
         "The code read or wrote beyond the end of a local variable.",
         {1: "A local buffer is smaller than the length that the caller gave.",
          4: "A local struct is copied with the size of another one, or of its pointer."},
         "BUG: KASAN: stack-out-of-bounds in kmsgpipe_ioctl+0x9c/0x1b0 [kmsgpipe_ioctl]"),
    Kind("global-out-of-bounds",
         "The code read or wrote beyond the end of a static variable.",
         {1: "count is larger than the static buffer, or the byte behind its end is used for "
             "the final 0.",
          4: "A table of commands is used with a number that was not checked."},
         "BUG: KASAN: global-out-of-bounds in kmsgpipe_write+0x9c/0x1b0 [kmsgpipe_basic]"),
    Kind("vmalloc-out-of-bounds",
         "The code read or wrote beyond the end of memory from vmalloc() or kvmalloc().",
         {1: "The length was not checked against the size of the buffer."},
         "BUG: KASAN: vmalloc-out-of-bounds in kmsgpipe_write+0x9c/0x1b0 [kmsgpipe_buffered]"),
    Kind("out-of-bounds",
         "The code read or wrote beyond the end of an object.",
         {1: "The length was not checked against the size of the buffer."},
         "BUG: KFENCE: out-of-bounds write in kmsgpipe_write+0x9c/0x1b0 [kmsgpipe_buffered]"),
    Kind("null-pointer",
         "The code followed a NULL pointer.",
         {1: "A return value was not checked, or file->private_data was never set in open().",
          2: "kmalloc() failed and nobody looked, or the list was empty where the code takes "
             "its first entry.",
          4: "The argument of an ioctl, or private_data, is used before it is set."},
         "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
    Kind("user-access",
         "The code used a pointer of user space directly.",
         {1: "memcpy() or *buf stands where copy_to_user() or copy_from_user() has to.",
          4: "The ioctl's arg is a pointer of user space: copy the struct before you look at it."},
         "BUG: KASAN: user-memory-access in kmsgpipe_read+0x1c/0x90 [kmsgpipe_basic]"),
    Kind("wild-access",
         "The code followed a pointer that leads nowhere: never set, freed, or overwritten.",
         {1: "The variable was never set, or a copy has overwritten it.",
          2: "The entry was deleted (dead...) or freed (6b6b...) before: the address in the "
             "report tells which."},
         "general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: "
         "0000 [#1] PREEMPT SMP NOPTI"),
    Kind("code-gone",
         "The kernel jumped to where no code is: to a module's that is unloaded, or by a bad "
         "pointer.",
         {1: "The exit function leaves something behind that leads into the module: the node, "
             "the class, or a callback.",
          5: "The exit function does not stop the timer or the work: timer_shutdown_sync() "
             "and cancel_work_sync() wait for them."},
         "BUG: unable to handle page fault for address: ffffffffc0201370"),
    Kind("kasan",
         "The code touched memory that it must not touch.",
         {1: "A pointer or a length is wrong."},
         "BUG: KASAN: unknown-crash in kmsgpipe_write+0x9c/0x1b0 [kmsgpipe_buffered]"),
    Kind("slab",
         "The allocator's own data was damaged: something wrote where it must not.",
         {1: "A write went beyond the end of its object, or into one that was freed."},
         "BUG kmalloc-64 (Tainted: G           OE     ): Freepointer corrupt"),
    Kind("leak",
         "Memory was allocated that nobody can reach or free any more.",
         {1: "An error path, or the exit function, returns without kfree().",
          2: "A message left the queue, or never got into it, and was not freed; or the exit "
             "function does not free what is queued.",
          4: "CLEAR_QUEUE empties the list without freeing the messages, or an ioctl's buffer "
             "is not freed on an error path.",
          5: "An expired message was taken out of the queue and not freed."},
         "unreferenced object 0xffff888004a3c0c0 (size 64):"),
    Kind("stack",
         "The code wrote beyond a local variable and damaged the kernel's stack.",
         {1: "A local buffer is smaller than the length that the caller gave."},
         "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: "
         "kmsgpipe_write+0x9c/0x1b0 [kmsgpipe_basic]"),
    Kind("stack-full",
         "The kernel's stack is used up.",
         {1: "A local variable is too large for its 16 KB, or a function calls itself."},
         "BUG: TASK stack guard page was hit at 00000000f4d6a (stack is 000000)"),
    Kind("list",
         "A list is broken: an entry was added or deleted twice, or freed while listed.",
         {1: "An entry is added or deleted twice.",
          2: "A message was freed without list_del(), deleted twice, or two processes changed "
             "the list at once.",
          5: "The cleanup and a reader took the same message out."},
         "list_del corruption, ffff888004d2c0c0->next is LIST_POISON1 (dead000000000100)"),
    Kind("refcount",
         "A reference count went below zero, or was used after it had.",
         {1: "Something was put once more than it was got.",
          7: "A device was put twice: by device_unregister() and by put_device() after it."},
         "refcount_t: underflow; use-after-free."),
    Kind("ubsan",
         "The code did something that C leaves undefined.",
         {1: "An index or a shift came from outside and was not checked.",
          4: "A command's number, or a field of its struct, is an index that was not checked."},
         "UBSAN: array-index-out-of-bounds in kmsgpipe_ioctl.c:412:19"),
    Kind("usercopy",
         "A copy to or from user space went beyond the kernel object that it names.",
         {1: "The copy has the caller's count, not the length of what there is to copy.",
          2: "copy_to_user() has count where msg->len belongs.",
          4: "An ioctl copies more than the struct, or the message, has."},
         "usercopy: Kernel memory exposure attempt detected from SLUB object 'kmalloc-64'"),
    Kind("fortify",
         "A string or memory function was asked to go beyond its buffer.",
         {1: "strcpy() or memcpy() got a length that is larger than the array."},
         "detected buffer overflow in strcpy"),
    # -- sleeping and locks ---------------------------------------------------------------
    Kind("sleep-in-atomic",
         "The code called what may sleep while it held a spinlock or had interrupts off.",
         {1: "kmalloc(GFP_KERNEL), a mutex, or a copy to user space stands between spin_lock() "
             "and spin_unlock().",
          3: "The code copies, allocates, or waits before it gives the spinlock back.",
          5: "The timer's function takes a mutex or frees a queue: it runs in an interrupt, and "
             "has to leave that to the work."},
         "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580"),
    Kind("scheduling-while-atomic",
         "The code did go to sleep while it held a spinlock or had interrupts off.",
         {1: "A lock, a copy, or a wait that sleeps stands between spin_lock() and "
             "spin_unlock().",
          3: "wait_event_interruptible() or schedule() is called before spin_unlock().",
          5: "The timer's function waits or takes a mutex; timers must not sleep."},
         "BUG: scheduling while atomic: kmsgpipe-test/81/0x00000002"),
    Kind("blocking-while-not-running",
         "The condition of a wait may sleep itself, and the wake-up can then be lost.",
         {1: "A mutex is taken between set_current_state() and schedule().",
          3: "The condition of wait_event_interruptible() takes the mutex: let it look at the "
             "depth without, and check again under the lock."},
         "do not call blocking ops when !TASK_RUNNING; state=1 set at kmsgpipe_read+0x1/0x2"),
    Kind("preemptible",
         "The code uses data of one CPU but can be moved to another one meanwhile.",
         {1: "smp_processor_id() or this_cpu_ptr() is called with preemption on."},
         "BUG: using smp_processor_id() in preemptible [00000000] code: cat/81"),
    Kind("invalid-wait",
         "The code takes a lock that can sleep inside one that must not.",
         {1: "mutex_lock() stands after spin_lock(), or spin_lock() after raw_spin_lock().",
          5: "The timer's function, an interrupt, takes a lock that can sleep."},
         "[ BUG: Invalid wait context ]"),
    Kind("circular-locking",
         "Two paths take the same locks in different orders, and can wait for each other.",
         {1: "One path takes the locks the other way round.",
          3: "read_lock comes before lock everywhere: one path has them the other way round.",
          5: "The exit function or SET_CLEANUP waits for the work with the lock held that the "
             "work takes.",
          6: "A sysfs file is removed with the lock held that its show() or store() takes."},
         "WARNING: possible circular locking dependency detected"),
    Kind("recursive-locking",
         "The code takes a lock that it holds already, and waits for itself.",
         {1: "A path returned without unlock, or a function takes the lock that its caller holds.",
          4: "A command takes the lock and calls a function that takes it too."},
         "WARNING: possible recursive locking detected"),
    Kind("irq-unsafe-lock",
         "A lock is taken in an interrupt, and elsewhere with interrupts on: it can deadlock.",
         {1: "The lock needs spin_lock_irqsave(), or no interrupt may take it.",
          5: "The timer takes the spinlock, so everybody else needs spin_lock_bh(); better, the "
             "timer only queues the work."},
         "WARNING: inconsistent lock state"),
    Kind("lock-held-at-return",
         "A system call came back to user space with a lock held.",
         {1: "An early return, mostly that of an error, leaves out the unlock.",
          3: "A path of O_NONBLOCK, or of a signal, returns without mutex_unlock().",
          4: "One of the commands returns from its case without mutex_unlock()."},
         "WARNING: lock held when returning to user space!"),
    Kind("lock-freed",
         "Memory was freed while a lock in it was held.",
         {1: "kfree() comes before the unlock."},
         "WARNING: held lock freed!"),
    Kind("bad-unlock",
         "The code unlocked something that it had not locked.",
         {1: "A path unlocks twice, or an error path unlocks what was not locked yet.",
          3: "The wait gives the lock up, and the path out of it unlocks once more."},
         "WARNING: bad unlock balance detected!"),
    Kind("lock-unset",
         "A lock is used that nobody has set up.",
         {1: "mutex_init(), spin_lock_init() or init_waitqueue_head() is missing, or comes after "
             "the device can be opened.",
          5: "timer_setup(), INIT_WORK() or mutex_init() is missing, or comes after cdev_add()."},
         "INFO: trying to register non-static key."),
    Kind("lock-damaged",
         "A lock was damaged, or used in a way that locks do not allow.",
         {1: "The memory that it lies in was overwritten or freed, or it was never set up.",
          3: "A spinlock is taken twice by the same path."},
         "BUG: spinlock bad magic on CPU#0, kmsgpipe-test/81"),
    Kind("rcu",
         "Data under RCU is used without rcu_read_lock().",
         {1: "rcu_dereference() stands outside of rcu_read_lock() and rcu_read_unlock()."},
         "WARNING: suspicious RCU usage"),
    Kind("race",
         "Two tasks use the same data at once without a lock, and one of them writes.",
         {1: "The lock is not held at one of the two places.",
          3: "A sleeper's condition looks at the depth without the lock: READ_ONCE() there and "
             "WRITE_ONCE() where it changes say that this is meant.",
          4: "A counter is changed without the lock that GET_STATS holds.",
          5: "The timer looks at the interval while SET_CLEANUP changes it."},
         "BUG: KCSAN: data-race in kmsgpipe_poll [kmsgpipe_wait] / kmsgpipe_write"),
    # -- timers and work ------------------------------------------------------------------
    Kind("active-timer-freed",
         "A timer's memory was freed while the timer was still armed.",
         {1: "timer_shutdown_sync() is missing before kfree(), or before the module goes.",
          5: "The exit function does not call timer_shutdown_sync(), or the timer starts itself "
             "again after timer_delete_sync()."},
         "ODEBUG: free active (active state 0) object: ffff888004a3c0c0 object type: timer_list "
         "hint: kmsgpipe_flush+0x0/0x40 [kmsgpipe_workqueue]"),
    Kind("active-work-freed",
         "A work's memory was freed while the work was still queued.",
         {1: "cancel_work_sync() is missing before kfree(), or before the module goes.",
          5: "The exit function does not call cancel_work_sync(), or calls it before the timer "
             "that queues the work is stopped."},
         "ODEBUG: free active (active state 0) object: ffff888004a3c0c0 object type: work_struct "
         "hint: kmsgpipe_cleanup+0x0/0x40 [kmsgpipe_workqueue]"),
    Kind("odebug",
         "A timer, a work or a similar object was used before it was set up, or set up twice.",
         {1: "timer_setup() or INIT_WORK() is missing, or runs while the object is active."},
         "ODEBUG: init active (active state 0) object: ffff888004a3c0c0 object type: timer_list "
         "hint: kmsgpipe_flush+0x0/0x40 [kmsgpipe_workqueue]"),
    # -- nothing goes on --------------------------------------------------------------------
    Kind("hung-task",
         "A process has waited for long where no signal can reach it.",
         {1: "A path left a mutex locked, and the next mutex_lock() waits for ever.",
          3: "wait_event() is not the interruptible form, or its wake-up never comes.",
          5: "rmmod waits for a work that waits for a lock which rmmod holds."},
         "INFO: task kmsgpipe-test:82 blocked for more than 10 seconds."),
    Kind("soft-lockup",
         "A CPU ran in the kernel for many seconds without a pause.",
         {1: "A loop does not end, mostly one whose condition nobody changes.",
          3: "The code waits in a loop and does not sleep, with preemption off.",
          5: "The timer starts itself without a delay, or the cleanup's loop does not end."},
         "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [kmsgpipe-test:82]"),
    Kind("hard-lockup",
         "A CPU ran for many seconds with interrupts off.",
         {1: "A spinlock is taken twice, or a loop does not end, with interrupts off."},
         "watchdog: Watchdog detected hard LOCKUP on cpu 0"),
    Kind("rcu-stall",
         "A CPU made no progress for many seconds, and all who wait for it are held up.",
         {1: "A loop does not end, or preemption or interrupts are off for long.",
          5: "The cleanup works through a long queue without cond_resched()."},
         "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"),
    Kind("work-stall",
         "A work has not ended for many seconds.",
         {1: "Its function waits for something that never comes, or loops without end."},
         "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 31s!"),
    # -- the rest -------------------------------------------------------------------------
    Kind("duplicate",
         "A name in sysfs is registered already.",
         {1: "Another lab's module is loaded, or the exit function has left its class or its "
             "node behind.",
          6: "The attributes are created twice: by the class's groups and by hand.",
          7: "Two devices got the same number."},
         "sysfs: cannot create duplicate filename '/class/kmsgpipe'"),
    Kind("divide",
         "The code divided by zero.",
         {1: "A parameter or a field of user space is a divisor and was not checked."},
         "divide error: 0000 [#1] PREEMPT SMP NOPTI"),
    Kind("bug",
         "The code ran into a BUG(): a state that must never be.",
         {1: "Mostly a kernel function that was called with what it cannot accept."},
         "kernel BUG at mm/slub.c:435!"),
    Kind("oops",
         "The kernel hit a fault inside this code.",
         {1: "A pointer to a function is wrong, or the stack was overwritten."},
         "kernel tried to execute NX-protected page - exploit attempt? (uid: 0)"),
    Kind("panic",
         "The kernel gave up.",
         {1: "What stands above in the log has led to it, or the code calls panic()."},
         "Kernel panic - not syncing: by hand"),
    Kind("warning",
         "The kernel found a state that it warns about.",
         {1: "Mostly a function that was called twice, too late, or with what it does not accept."},
         "WARNING: CPU: 1 PID: 81 at x.c:12 kmsgpipe_read+0x1c/0x90 [kmsgpipe_wait]"),
    Kind("other",
         "The kernel complained.",
         {1: "Read the report below: its first line says of what."},
         "BUG: something new happened"),
)  # fmt: skip

KINDS = {kind.name: kind for kind in TABLE}

# How the slab allocator starts its reports; "Tainted: ..." or "Not tainted" stands inside.
SLUB = r"BUG \S+ \((Not t|T)ainted[^)]*\): "
# All that the allocator's own checks find.
ALLOCATORS = (SLUB, r"\[[\w ]+ overwritten\] 0x")
REDZONE = "(Right |Left |kmalloc )?[Rr]edzone overwritten"
KASAN, KFENCE = "BUG: KASAN: ", "BUG: KFENCE: "

# The first that matches counts, so the special ones stand before the general ones.
# All of them have to match at the start of a line.
STARTS = tuple((KINDS[name], re.compile("|".join(starts))) for name, *starts in (
    ("use-after-free", KASAN + "(slab-|vmalloc-)?use-after-free", KFENCE + "use-after-free",
     SLUB + "Poison overwritten", r"\[Poison overwritten\] 0x"),
    # Before 6.3 KASAN did not tell the two apart.
    ("double-free", KASAN + "double-free", SLUB + "Object already free"),
    ("invalid-free", KASAN + "invalid-free", KFENCE + "invalid free",
     SLUB + "(Invalid object pointer|Invalid address)",
     r"page_owner is not|kfree: .* not a slab object"),
    ("slab-out-of-bounds", KASAN + "slab-out-of-bounds", SLUB + REDZONE, rf"\[{REDZONE}\] 0x"),
    ("stack-out-of-bounds", KASAN + "stack-out-of-bounds"),
    ("global-out-of-bounds", KASAN + "global-out-of-bounds"),
    ("vmalloc-out-of-bounds", KASAN + "vmalloc-out-of-bounds"),
    ("out-of-bounds", KASAN + "out-of-bounds", KFENCE + "(out-of-bounds|memory corruption)"),
    ("user-access", KASAN + "user-memory-access"),
    ("null-pointer", KASAN + "null-ptr-deref"),
    ("wild-access", KASAN + "wild-memory-access"),
    ("kasan", r"BUG: (KASAN|KFENCE|KMSAN): "),
    ("leak", SLUB + "Objects remaining", r"kmemleak: \d+ new suspected memory leaks",
     r"unreferenced object 0x[0-9a-f]+ \(size \d+\):"),
    ("slab", *ALLOCATORS),
    ("sleep-in-atomic", "BUG: sleeping function called from invalid context"),
    ("scheduling-while-atomic", "BUG: scheduling while atomic"),
    ("preemptible", r"BUG: using \S+ in preemptible"),
    ("invalid-wait", r"\[ BUG: Invalid wait context \]"),
    ("blocking-while-not-running", "do not call blocking ops when !TASK_RUNNING"),
    ("circular-locking", "WARNING: possible circular locking dependency detected"),
    ("recursive-locking", "WARNING: possible recursive locking detected"),
    ("irq-unsafe-lock", "WARNING: inconsistent lock state",
     r"WARNING: (\S+-safe -> \S+-unsafe lock order|possible irq lock inversion dependency)"),
    ("lock-held-at-return", "WARNING: lock held when returning to user space",
     r"BUG: \S+/\d+ still has locks held"),
    ("lock-freed", "WARNING: held lock freed"),
    ("bad-unlock", "WARNING: bad unlock balance"),
    ("lock-unset", r"INFO: trying to register non-static key|BUG: key \S+ has not been regist"),
    ("lock-damaged", "BUG: (spinlock|rwlock) ", "DEBUG_LOCKS_WARN_ON"),
    ("rcu", "WARNING: suspicious RCU usage"),
    ("race", "BUG: KCSAN: "),
    ("active-timer-freed", "ODEBUG: free active .* object type: timer_list"),
    ("active-work-freed", "ODEBUG: free active .* object type: work_struct"),
    ("odebug", "ODEBUG: "),
    ("list", "list_(add|del)(_rcu)? (corruption|double add)"),
    ("refcount", "refcount_t: "),
    ("ubsan", "UBSAN: "),
    ("usercopy", "usercopy: Kernel memory (exposure|overwrite) attempt",
     r"Buffer overflow detected \(\d+ < \d+\)!"),
    ("fortify", r"detected buffer overflow in |\w+: detected (buffer overflow|field-spanning)"),
    ("stack", "Kernel panic - not syncing: (stack-protector|corrupted stack end)"),
    ("stack-full", r"BUG: (TASK |IRQ |\S+ )?stack guard page was hit|(traps: )?PANIC: double fault"),
    ("null-pointer", "BUG: kernel NULL pointer dereference"),
    ("user-access", "BUG: unable to handle page fault for address: 0000[0-7]"),
    ("wild-access", "BUG: unable to handle page fault",
     "(Oops: )?general protection fault(, probably|, maybe|: )",
     "Unable to handle kernel (paging request|NULL pointer|access)"),
    ("divide", "(Oops: )?divide error: "),
    ("bug", "kernel BUG at "),
    ("soft-lockup", "(watchdog: )?BUG: soft lockup"),
    ("hard-lockup", "((NMI )?watchdog: )?Watchdog detected hard LOCKUP"),
    ("rcu-stall", r"rcu: INFO: \w+ (self-)?detected (expedited )?stall"),
    ("work-stall", "BUG: workqueue lockup"),
    ("hung-task", r"INFO: task \S+ blocked for more than"),
    ("duplicate", "sysfs: cannot create duplicate filename"),
    ("oops", "(Oops: )?invalid opcode: |(Oops|Internal error): |stack segment: "
     "|kernel tried to execute "),
    ("panic", "Kernel panic - not syncing"),
    ("warning", r"WARNING: (CPU: \d+ PID: \d+ at |\S+:\d+ at )"),
))  # fmt: skip

# What a line within a report adds: of that kind it was so far, of this one it is really.
REFINED = tuple((was, re.compile(line), KINDS[name]) for was, line, name in (
    ("wild-access", "KASAN: null-ptr-deref in range", "null-pointer"),
    ("wild-access", "KASAN: probably user-memory-access in range", "user-access"),
    ("wild-access", "#PF: supervisor instruction fetch in kernel mode", "code-gone"),
    ("null-pointer", "#PF: supervisor instruction fetch in kernel mode", "code-gone"),
))  # fmt: skip


# -- the page -----------------------------------------------------------------------------

HEAD = """\
# What the kernel reports

When the kernel complains during a test, the test fails. `make test` shows one sentence of
what happened (`kernel`), one of what mostly causes it in that lab (`why`), the lines of your
source that the report names, and the begin of the report. This page has all of these
sentences, kind by kind.

The first report counts. What follows it is mostly its consequence.

The lines of your source come with a word:

| word | what happened there |
|---|---|
| `at` | the report fell here |
| `found` | damage came to light here; it was done earlier |
| `kmalloc`, `kfree` | the object was allocated, was freed |
| `locked` | the lock was taken that is held now |
| `earlier` | the lock was taken the other way before |
| `other` | the other one of two that race |
| `handler` | the function of the timer or of the work |

Most of these reports need a debug kernel: a stock one does not look for leaks, or locks left
held. Two need the race kernel: `race` and `preemptible`. `make reports` provokes every kind
that the kernel has been built to see, and checks its name and its line. What the kernel
cannot show is listed with the option that it lacks. Each module of `judge/reports/` has one
bug; its guilty lines are marked.

Some reports take their time:

- **Leaks** are looked for once, after all tests, on a kernel with `CONFIG_DEBUG_KMEMLEAK`:
  by two scans of all memory, which take about a second each. The process that allocated the
  object says which test it was. A VM that is given up because of another report is not
  scanned: fix that report first.
- **Hung tasks** are reported after three seconds, times the factor for slow machines: before
  the test's time-out, so that the report belongs to the test. The verdict is `unkillable`
  all the same, for no signal reaches such a process.
- **Soft and hard lock-ups, and stalls of RCU** keep the kernel's own time-outs, 20 seconds
  and more. Shorter ones would blame a driver for a busy host. A loop that holds no lock is
  seen by the test's time-out first.

The kernel's taint flags play no part. The log decides.
"""


def _labs(first: int, next_one: int | None) -> str:
    last = (next_one or 8) - 1
    name = {7: "capstone"}
    ends = [name.get(n, f"lab {n}") for n in (first, last)]
    return ends[0] if first == last else f"{ends[0]} to {ends[1]}"


def _section(kind: Kind) -> Iterator[str]:
    yield f"\n## {kind.name}\n\n{kind.means}\n\n```\n{kind.example}\n```\n"
    if len(kind.causes) == 1:
        yield f"\nThe usual cause: {kind.causes[1]}\n"
        return
    yield "\n| in | the usual cause |\n|---|---|\n"
    for first, next_one in zip(kind.causes, [*list(kind.causes)[1:], None]):
        yield f"| {_labs(first, next_one)} | {kind.causes[first]} |\n"


def page() -> str:
    """docs/reports.md"""
    return HEAD + "".join(part for kind in TABLE for part in _section(kind))


if __name__ == "__main__":
    sys.stdout.write(page())
