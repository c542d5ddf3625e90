"""The timeline of make lab3 trace, drawn from lines that a kernel has written."""

from __future__ import annotations

import unittest

from judge import trace

# As 6.1 writes them; shortened to what the VM's filter lets through.
SLEEP = """\
# tracer: function
            head-94      [001] .....    28.813331: kmsgpipe_open <-chrdev_open
            head-94      [001] .....    28.817973: kmsgpipe_read <-vfs_read
            head-94      [001] d..2.    28.818190: sched_switch: prev_comm=head prev_pid=94 prev_prio=120 prev_state=S ==> next_comm=swapper/1 next_pid=0 next_prio=120
            bash-86      [001] .....    28.879658: kmsgpipe_write <-vfs_write
            bash-86      [001] .....    28.879700: kmalloc: call_site=kmsgpipe_write+0x20/0x90 [kmsgpipe_wait] ptr=0000 bytes_req=32 bytes_alloc=32 gfp_flags=GFP_KERNEL
            bash-86      [001] d..3.    28.879835: sched_waking: comm=head pid=94 prio=120 target_cpu=001
          <idle>-0       [000] d..2.    28.880024: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=head next_pid=94 next_prio=120
            bash-86      [001] .....    28.880050: sys_write -> 0x8
            bash-86      [001] .....    28.880094: kmsgpipe_release <-__fput
            bash-86      [001] .....    28.880200: sys_write -> 0x1d
            head-94      [000] .....    28.880300: kfree: call_site=kmsgpipe_read+0x90/0x120 [kmsgpipe_wait] ptr=0000
            head-94      [000] d..2.    28.880310: sched_switch: prev_comm=head prev_pid=94 prev_prio=120 prev_state=R ==> next_comm=rcu next_pid=15 next_prio=120
             rcu-15      [000] d..2.    28.880320: sched_switch: prev_comm=rcu prev_pid=15 prev_prio=120 prev_state=S ==> next_comm=head next_pid=94 next_prio=120
            head-94      [000] .....    28.880400: sys_read -> 0x8
"""  # noqa: E501
EXPIRY = """\
            bash-85      [000] ..s1.     5.100000: timer_expire_entry: timer=00 function=kmsgpipe_flush [kmsgpipe_workqueue] now=42 baseclk=42
            bash-85      [000] ..s1.     5.100010: kmsgpipe_flush <-call_timer_fn
            bash-85      [000] d.s2.     5.100020: workqueue_queue_work: work struct=00 function=kmsgpipe_cleanup [kmsgpipe_workqueue] workqueue=events req_cpu=2 cpu=0
     kworker/0:0-7       [000] .....     5.100100: kmsgpipe_cleanup <-process_one_work
     kworker/0:0-7       [000] .....     5.100110: kfree: call_site=kmsgpipe_cleanup+0x1/0x2 [kmsgpipe_workqueue] ptr=0
     kworker/0:0-7       [000] .....     5.100120: workqueue_execute_end: work struct 00: function kmsgpipe_cleanup [kmsgpipe_workqueue]
           ioctl-90      [001] .....     5.100200: kmsgpipe_open <-chrdev_open
            bash-85      [000] ..s1.     5.200000: timer_expire_entry: timer=00 function=kmsgpipe_flush [kmsgpipe_workqueue] now=42 baseclk=42
"""  # noqa: E501


def timeline(text: str) -> trace.Timeline:
    line = trace.Timeline()
    line.add(trace.parse(text.splitlines()))
    return line


class Sleep(unittest.TestCase):
    def setUp(self) -> None:
        self.line = timeline(SLEEP)

    def test_who_did_what(self) -> None:
        said = [(row.column.partition(",")[0], row.text.strip()) for row in self.line.rows]
        self.assertEqual(said, [
            ("head", "kmsgpipe_open()"), ("head", "kmsgpipe_read()"),
            ("head", "sleeps (S), off CPU 1"), ("bash", "kmsgpipe_write()"),
            ("bash", "kmalloc(32)"), ("bash", "wakes head"), ("head", "runs again, on CPU 0"),
            ("bash", "write() returns 8"), ("bash", "kmsgpipe_release()"), ("head", "kfree()"),
            ("head", "read() returns 8"),
        ])  # fmt: skip

    def test_in_words(self) -> None:
        self.assertEqual(
            self.line.slept, ["head slept for 61.6 ms, and ran 0.2 ms after its wake-up"]
        )

    def test_drawn(self) -> None:
        rows = trace.draw(self.line.rows)
        self.assertIn("head, pid 94", rows[0])
        self.assertLess(rows[0].index("head"), rows[0].index("bash"))
        self.assertRegex(rows[4], r"^ +66\.3  : +kmsgpipe_write\(\)$")
        self.assertNotIn("  : ", rows[8])
        self.assertLessEqual(max(map(len, rows)), 80)

    def test_nothing_happened(self) -> None:
        self.assertEqual(trace.draw(timeline("").rows), ["nothing of the driver was called"])


class Expiry(unittest.TestCase):
    def test_until_the_work_that_freed(self) -> None:
        rows = trace.of_expiry(timeline(EXPIRY).rows)
        self.assertEqual([row.text.strip() for row in rows], [
            "the timer goes off", "kmsgpipe_flush()", "schedule_work()", "kmsgpipe_cleanup()",
            "kfree()", "the work is done",
        ])  # fmt: skip
        self.assertEqual(rows[0].column, "timer, CPU 0")
        self.assertEqual(rows[3].column, "kworker/0:0, pid 7")

    def test_not_in_the_columns_of_tasks(self) -> None:
        self.assertEqual([row.column for row in trace.of_tasks(timeline(EXPIRY).rows)],
                         ["ioctl, pid 90"])  # fmt: skip


class Values(unittest.TestCase):
    def test_returned(self) -> None:
        for text, wanted in (("0x8", "8"), ("0x0", "0"), ("0xfffffffffffffff5", "-EAGAIN"),
                             ("0xfffffffffffffe00", "-ERESTARTSYS"),
                             ("0xffffffffffff0000", "-65536")):  # fmt: skip
            self.assertEqual(trace.returned(text), wanted)

    def test_script_names_the_module(self) -> None:
        text = trace.script("kmsgpipe_wait")
        self.assertIn(":mod:kmsgpipe_wait", text)
        self.assertNotRegex(text, r"@[A-Z]+@")


if __name__ == "__main__":
    unittest.main()
