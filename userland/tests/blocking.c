// SPDX-License-Identifier: GPL-2.0
/* Readers and writers that wait: who sleeps, who wakes, and that nobody is forgotten. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "slow.h"

#define SLEEPERS 4
#define SIZE 64
/* The order of events is forced in each: a few rounds for either sleeper to be first. */
#define ROUNDS 4

SOLO(reader_sleeps_until_a_message_comes,
     .says = "a reader sleeps on an empty queue and wakes on one write()",
     .page = "lab3.md#sleeping-readers", .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);
	struct caller *reader = start_reader(fd, SIZE);

	wait_asleep(reader);
	device_send_text(fd, "wake up");
	wait_returned(reader, 7, "it wakes when a message is written, and gets its 7 bytes");
	expect(!memcmp(reader->data, "wake up", 7), "read() by a sleeper", "\"wake up\"",
	       "\"%.7s\"", reader->data);
	device_expect_empty(fd);
}

SOLO(writer_sleeps_until_there_is_room,
     .says = "a writer sleeps on a full queue and wakes on one read()",
     .page = "lab3.md#sleeping-writers", .stages = FROM_STAGE(3), .params = "max_msgs=2")
{
	int fd = device_open(O_RDWR);
	struct caller *writer;

	device_send_numbers(fd, 0, 2);
	writer = start_writer(fd, "message 2");
	wait_asleep(writer);
	device_expect_numbers(fd, 0, 1);
	wait_returned(writer, 9, "it wakes when a message is read, and writes its 9 bytes");
	device_expect_numbers(fd, 1, 2);
	device_expect_empty(fd);
}

SOLO(file_opened_later_wakes_a_reader,
     .says = "a sleeper is woken through any open file", .page = "lab3.md#sleeping-readers",
     .stages = FROM_STAGE(3))
{
	struct caller *reader = start_reader(device_open(O_RDONLY), SIZE);

	wait_asleep(reader);
	device_send_text(device_open(O_WRONLY), "late");
	wait_returned(reader, 4, "it wakes when a message is written through another file");
}

/*
 * However long we look, a proper sleeper does not run, not once. The time only tells which of
 * the others are seen: those that look again every 0.1 s or more often. It passes in short
 * sleeps: where this machine stands still for a while, a long one would end at its due time
 * all the same, and the sleeper's timer would not have come round.
 */
static void expect_sleeping_soundly(struct caller *caller, const char *did)
{
	const struct timespec a_while = { .tv_nsec = 10000000 };
	long before, after;

	wait_asleep(caller);
	/* It may be on its way to sleep still. We have one CPU: when we sleep, it gets there. */
	nanosleep(&a_while, NULL);
	before = times_scheduled(caller);
	for (int i = 0; i < 12; i++)
		nanosleep(&a_while, NULL);
	after = times_scheduled(caller);
	expect(after == before, did, "it sleeps until it is woken", "it ran %ld times meanwhile",
	       after - before);
}

SOLO(sleeping_reader_uses_no_cpu,
     .says = "a sleeping reader sleeps until woken and does not look again and again",
     .page = "lab3.md#sleeping-readers", .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);
	struct caller *reader = start_reader(fd, SIZE);

	expect_sleeping_soundly(reader, "read() on an empty queue, watched for 0.12 s");
	device_send_text(fd, "done");
	wait_returned(reader, 4, "it wakes when a message is written");
}

SOLO(sleeping_writer_uses_no_cpu,
     .says = "a sleeping writer sleeps until woken and does not look again and again",
     .page = "lab3.md#sleeping-writers", .stages = FROM_STAGE(3), .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);
	struct caller *writer;

	device_send_text(fd, "full");
	writer = start_writer(fd, "done");
	expect_sleeping_soundly(writer, "write() to a full queue, watched for 0.12 s");
	device_expect_text(fd, "full");
	wait_returned(writer, 4, "it wakes when a message is read");
}

/*
 * The sleeper is woken and cannot run, as it shares our CPU and we do not let go of it.
 * Meanwhile we take away what it was woken for.
 */
SOLO(woken_reader_looks_again,
     .says = "a woken reader whose message is gone already goes back to sleep",
     .page = "lab3.md#sleeping-readers", .stages = FROM_STAGE(3), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *reader;
	bool taken;

	run_on_cpu(0);
	reader = start_reader(fd, SIZE);
	wait_asleep(reader);
	keep_the_cpu(true);
	device_send_text(fd, "gone");
	taken = device_has_message(fd);
	keep_the_cpu(false);
	run_on_cpu(ANY_CPU);
	/* A driver may give a message to its sleeper at once; then there is none to take. */
	if (taken) {
		wait_asleep(reader);
		device_send_text(fd, "more");
	}
	wait_returned(reader, 4, "it gets the next message");
	device_expect_empty(fd);
}

SOLO(woken_writer_looks_again,
     .says = "a woken writer whose slot is taken already goes back to sleep",
     .page = "lab3.md#sleeping-writers", .stages = FROM_STAGE(3), .as_root = true,
     .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR), quick = device_open(O_RDWR | O_NONBLOCK);
	struct caller *writer;
	bool taken;

	device_send_text(fd, "full");
	run_on_cpu(0);
	writer = start_writer(fd, "at last");
	wait_asleep(writer);
	keep_the_cpu(true);
	device_expect_text(fd, "full");
	taken = write(quick, "full again", 10) == 10;
	keep_the_cpu(false);
	run_on_cpu(ANY_CPU);
	/* A driver may give the slot to its sleeper at once; then there is none to take. */
	if (taken) {
		wait_asleep(writer);
		device_expect_text(fd, "full again");
	}
	wait_returned(writer, 7, "it writes when there is room again");
	device_expect_text(fd, "at last");
	device_expect_empty(fd);
}

/*
 * Between the moment when a sleeper sees a message and the moment when it has the lock, the
 * message can go. Here it does: a thief, a child of ours with our priority, runs first, and
 * its copy stops in the middle, so that the one woken sees the message and has to wait.
 */
SOLO(reader_asks_again_under_the_lock,
     .says = "a reader whose message is taken while it wakes goes back to sleep",
     .page = "lab3.md#sleeping-readers", .stages = FROM_STAGE(3), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *reader, *thief;

	run_on_cpu(0);
	reader = start_reader(device_open(O_RDONLY), SIZE);
	wait_asleep(reader);
	keep_the_cpu(true);
	device_send_text(fd, "gone");
	thief = start_slow_reader(device_open(O_RDONLY), SIZE);
	keep_the_cpu(false);
	run_on_cpu(ANY_CPU);
	sleeps_again(reader);
	let_go();
	/* A driver may give a message to its sleeper at once; then the thief needs another. */
	if (reader->done)
		device_send_text(fd, "more");
	wait_returned(thief, 4, "it gets a message");
	if (!reader->done) {
		/* It has no reason to return; one that does so all the same gets the time. */
		for (int i = 0; i < 50 && !reader->done; i++)
			wait_a_moment();
		wait_asleep(reader);
		device_send_text(fd, "more");
	}
	wait_returned(reader, 4, "it gets a message");
	device_expect_empty(fd);
}

/* Shared with the writer below: how many of its write() have returned. */
static int *written;

static long write_on_and_on(struct caller *self)
{
	while (write(self->fd, "message", 7) == 7)
		__atomic_add_fetch(written, 1, __ATOMIC_SEQ_CST);
	return -1;
}

/*
 * The same for a writer and its slot. No copy can be stopped there, but a task that was woken
 * gives way to us at the latest when it asks for the lock. So we come while it is on its way:
 * later if we were too early, earlier if we were too late, until it is just in time.
 */
SOLO(writer_asks_again_under_the_lock,
     .says = "a writer whose slot is taken while it wakes goes back to sleep",
     .page = "lab3.md#sleeping-writers", .stages = FROM_STAGE(3), .params = "max_msgs=1",
     .as_root = true, .seconds = 15)
{
	int fd = device_open(O_RDONLY), thief = device_open(O_WRONLY | O_NONBLOCK);
	struct timespec pause = { 0 };
	struct caller *writer;
	int many = rounds(1000);

	/* Time enough to come upon the moment, also where each step takes long. */
	if (many > 300)
		many = 300;
	written = shared_memory(sizeof(*written));
	run_on_cpu(0);
	writer = start_caller(device_open(O_WRONLY), "write() in a loop", write_on_and_on);
	for (int round = 0; round < many; round++) {
		int step = round < 50 ? 5000 : 1000, before;
		char buf[SIZE];
		bool stolen;

		wait_asleep(writer);
		keep_the_cpu(true);
		before = __atomic_load_n(written, __ATOMIC_SEQ_CST);
		expect_value(read(fd, buf, sizeof(buf)), 7);
		nanosleep(&pause, NULL);
		stolen = write(thief, "mine", 4) == 4;
		keep_the_cpu(false);
		if (!stolen) {
			pause.tv_nsec -= pause.tv_nsec < step ? pause.tv_nsec : step;
			continue;
		}
		pause.tv_nsec += step;
		wait_asleep(writer);
		expect(__atomic_load_n(written, __ATOMIC_SEQ_CST) == before,
		       "write() with O_NONBLOCK while a writer wakes for the only free slot",
		       "one of the two writes", "both did, into a queue for one message");
		expect_value(read(fd, buf, sizeof(buf)), 4);
	}
	run_on_cpu(ANY_CPU);
}

/*
 * The other way round: the sleeper shares our CPU and goes first wherever the kernel
 * asks who should run. Woken too early it finds nothing, and sleeps on for good.
 */
static struct caller *start_urgent(struct caller *caller)
{
	const struct sched_param priority = { .sched_priority = 1 };

	expect(!sched_setscheduler(caller->pid, SCHED_FIFO, &priority), "sched_setscheduler()", "0",
	       "%s", result(-1));
	wait_asleep(caller);
	return caller;
}

SOLO(message_is_there_when_its_reader_wakes,
     .says = "a reader that runs the moment it is woken finds the message",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3), .as_root = true)
{
	int fd = device_open(O_RDWR);

	run_on_cpu(0);
	for (int round = 0; round < ROUNDS; round++) {
		struct caller *reader = start_urgent(start_reader(fd, SIZE));

		device_send_text(fd, "now");
		wait_returned(reader, 3, "it wakes when the message is in the queue, not before");
	}
	run_on_cpu(ANY_CPU);
	device_expect_empty(fd);
}

SOLO(room_is_there_when_its_writer_wakes,
     .says = "a writer that runs the moment it is woken finds the room",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3), .as_root = true,
     .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);

	run_on_cpu(0);
	for (int round = 0; round < ROUNDS; round++) {
		struct caller *writer;

		device_send_text(fd, "full");
		writer = start_urgent(start_writer(fd, "now"));
		device_expect_text(fd, "full");
		wait_returned(writer, 3,
			      "it wakes when the message is out of the queue, not before");
		device_expect_text(fd, "now");
	}
	run_on_cpu(ANY_CPU);
	device_expect_empty(fd);
}

static void start_readers(struct caller **readers, int fd, int count)
{
	for (int i = 0; i < count; i++)
		readers[i] = start_reader(fd, SIZE);
	for (int i = 0; i < count; i++)
		wait_asleep(readers[i]);
}

static int count_done(struct caller **callers, int count)
{
	int done = 0;

	for (int i = 0; i < count; i++)
		done += callers[i]->done;
	return done;
}

SOLO(every_message_wakes_a_reader,
     .says = "several sleeping readers, as many messages: every reader wakes",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3))
{
	struct caller *readers[SLEEPERS];
	int fd = device_open(O_RDWR);

	start_readers(readers, fd, SLEEPERS);
	device_send_numbers(fd, 0, SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		wait_returned(readers[i], 9, "it wakes: there were as many messages as readers");
	device_expect_empty(fd);
}

SOLO(every_free_slot_wakes_a_writer,
     .says = "several sleeping writers, as many slots freed: every writer wakes",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3), .params = "max_msgs=4")
{
	struct caller *writers[SLEEPERS];
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		writers[i] = start_writer(fd, "late");
	for (int i = 0; i < SLEEPERS; i++)
		wait_asleep(writers[i]);
	device_expect_numbers(fd, 0, SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		wait_returned(writers[i], 4, "it wakes: as many slots were freed as writers sleep");
	for (int i = 0; i < SLEEPERS; i++)
		device_expect_text(fd, "late");
	device_expect_empty(fd);
}

SOLO(one_message_serves_one_reader,
     .says = "one message serves one reader; the others sleep on",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3))
{
	struct caller *readers[SLEEPERS];
	int fd = device_open(O_RDWR);

	start_readers(readers, fd, SLEEPERS);
	for (int served = 1; served <= SLEEPERS; served++) {
		device_send_text(fd, "one");
		while (count_done(readers, SLEEPERS) < served)
			if (!wait_a_moment())
				test_fail("write() of one message while readers sleep",
					  "one more reader returns", "none does");
		for (int i = 0; i < SLEEPERS; i++)
			if (!readers[i]->done)
				wait_asleep(readers[i]);
		expect(count_done(readers, SLEEPERS) == served, "write() of one message",
		       "one reader returns", "%d readers returned for %d messages",
		       count_done(readers, SLEEPERS), served);
	}
	for (int i = 0; i < SLEEPERS; i++)
		wait_returned(readers[i], 3, "it got the 3 bytes of one message");
}

SOLO(messages_sent_at_once_wake_everybody,
     .says = "readers that run late still find every message",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3), .as_root = true)
{
	struct caller *readers[SLEEPERS];
	int fd = device_open(O_RDWR);

	for (int round = 0; round < ROUNDS; round++) {
		/* All on one CPU: nobody who is woken runs before all is written. */
		run_on_cpu(0);
		start_readers(readers, fd, SLEEPERS);
		keep_the_cpu(true);
		device_send_numbers(fd, 0, SLEEPERS);
		keep_the_cpu(false);
		run_on_cpu(ANY_CPU);
		for (int i = 0; i < SLEEPERS; i++)
			wait_returned(readers[i], 9,
				      "it wakes: there were as many messages as readers");
	}
	device_expect_empty(fd);
}

SOLO(slots_freed_at_once_wake_everybody,
     .says = "writers that run late still find every free slot",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3), .as_root = true,
     .params = "max_msgs=4")
{
	struct caller *writers[SLEEPERS];
	int fd = device_open(O_RDWR);

	for (int round = 0; round < ROUNDS; round++) {
		device_send_numbers(fd, 0, SLEEPERS);
		/* All on one CPU: nobody who is woken runs before all is read. */
		run_on_cpu(0);
		for (int i = 0; i < SLEEPERS; i++)
			writers[i] = start_writer(fd, "late");
		for (int i = 0; i < SLEEPERS; i++)
			wait_asleep(writers[i]);
		keep_the_cpu(true);
		device_expect_numbers(fd, 0, SLEEPERS);
		keep_the_cpu(false);
		run_on_cpu(ANY_CPU);
		for (int i = 0; i < SLEEPERS; i++)
			wait_returned(writers[i], 4,
				      "it wakes: as many slots were freed as writers sleep");
		for (int i = 0; i < SLEEPERS; i++)
			device_expect_text(fd, "late");
	}
	device_expect_empty(fd);
}

/*
 * One of two sleepers is killed after the wake-up that was meant for it and before it
 * can run: it shares our CPU, and we do not let go of it. Whatever it does then, the
 * message must not lie there while the other one sleeps.
 */
SOLO(killed_reader_takes_no_wakeup_along,
     .says = "a reader killed in its sleep does not take a wake-up with it",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3), .as_root = true)
{
	int fd = device_open(O_RDWR);

	for (int round = 0; round < ROUNDS; round++) {
		struct caller *victim, *other;

		run_on_cpu(0);
		victim = start_reader(fd, SIZE);
		wait_asleep(victim);
		other = start_reader(fd, SIZE);
		wait_asleep(other);
		keep_the_cpu(true);
		device_send_text(fd, "for whom?");
		kill(victim->pid, SIGKILL);
		keep_the_cpu(false);
		run_on_cpu(ANY_CPU);
		kill_and_reap(victim);
		/* The victim is gone, and what it had to pass on it has passed on. */
		if (sleeps_again(other)) {
			expect(!device_has_message(fd), "SIGKILL to a reader that was just woken",
			       "the other reader gets the message", "it sleeps beside it");
			device_send_text(fd, "for whom?");
		}
		wait_returned(other, 9, "it gets a message");
		device_expect_empty(fd);
	}
}

SOLO(killed_writer_takes_no_wakeup_along,
     .says = "a writer killed in its sleep does not take a wake-up with it",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3), .as_root = true,
     .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);

	for (int round = 0; round < ROUNDS; round++) {
		struct caller *victim, *other;

		device_send_text(fd, "full");
		run_on_cpu(0);
		victim = start_writer(fd, "victim");
		wait_asleep(victim);
		other = start_writer(fd, "other");
		wait_asleep(other);
		keep_the_cpu(true);
		device_expect_text(fd, "full");
		kill(victim->pid, SIGKILL);
		keep_the_cpu(false);
		run_on_cpu(ANY_CPU);
		kill_and_reap(victim);
		if (sleeps_again(other)) {
			expect(device_has_message(fd), "SIGKILL to a writer that was just woken",
			       "the other writer gets the free slot", "it sleeps beside it");
		}
		/* device_has_message() has taken the victim's. */
		wait_returned(other, 5, "it wrote its message");
		device_expect_text(fd, "other");
		device_expect_empty(fd);
	}
}

/* A reader in line, and how often it had been given a CPU when it fell asleep there. */
struct in_line {
	struct caller *reader;
	long scheduled;
};

static void start_in_line(int fd, struct in_line *place)
{
	place->reader = start_reader(fd, SIZE);
	wait_asleep(place->reader);
	place->scheduled = times_scheduled(place->reader);
}

/*
 * Sends a message for the first in line, who is slow. A driver that wakes all readers gives it
 * to any of them: such a one is started anew, until the slow one has got a message.
 */
static void send_to_slow(int fd, struct caller *slow, struct in_line *others, int count)
{
	while (!slow->in_copy) {
		bool taken = false;

		device_send_text(fd, "message 1");
		while (!slow->in_copy && !taken && wait_a_moment())
			for (int i = 0; i < count; i++)
				taken |= others[i].reader->done;
		for (int i = 0; i < count; i++)
			if (others[i].reader->done)
				start_in_line(fd, &others[i]);
		expect(slow->in_copy || taken, "write() while three readers sleep",
		       "one of them gets the message", "all sleep on");
	}
}

SOLO(reader_killed_in_line_takes_no_wakeup_along,
     .says = "a reader killed while it waits for a slow one takes no wake-up with it",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow = start_slow_reader(fd, SIZE), *victim, *other;
	struct in_line others[2];

	for (int i = 0; i < 2; i++)
		start_in_line(fd, &others[i]);
	send_to_slow(fd, slow, others, 2);
	victim = others[0].reader;
	other = others[1].reader;
	device_send_text(fd, "message 2");
	/* Whichever of the two messages has woken it: it waits for the slow one now. */
	while (times_scheduled(victim) == others[0].scheduled && wait_a_moment())
		;
	kill(victim->pid, SIGKILL);
	let_go();
	wait_returned(slow, 9, "it gets its message when its page has come");
	kill_and_reap(victim);
	if (sleeps_again(other)) {
		expect(!device_has_message(fd), "SIGKILL to a reader in line behind a slow one",
		       "the third reader gets the message", "it sleeps beside it");
		device_send_text(fd, "message 3");
	}
	wait_returned(other, 9, "it gets a message");
	device_expect_empty(fd);
}

/* A reader that cannot take the message, and one that can, asleep beside it. */
static void expect_passed_on(int fd, struct caller *unfit, int error, const char *did)
{
	struct caller *fit;

	wait_asleep(unfit);
	fit = start_reader(fd, SIZE);
	wait_asleep(fit);
	device_send_text(fd, "a longer message");
	while (!fit->done)
		if (!wait_a_moment())
			test_fail(did, "the other reader, which sleeps too, gets the message",
				  "it sleeps on beside the message");
	wait_returned(fit, 16, "it gets the message that the other reader could not take");
	/* Whether the unfit one was woken at all depends on who came first. */
	if (!unfit->done) {
		device_send_text(fd, "a longer message");
		wait_done(unfit, "it wakes and fails");
		device_expect_text(fd, "a longer message");
	}
	errno = unfit->error;
	expect(unfit->ret == -1 && unfit->error == error, did, "it fails", "it returned %s",
	       result(unfit->ret));
	device_expect_empty(fd);
}

SOLO(short_buffer_passes_the_wakeup_on,
     .says = "a reader with too small a buffer passes its wake-up on",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3))
{
	int fd = device_open(O_RDWR);

	expect_passed_on(fd, start_reader(fd, 2), EMSGSIZE,
			 "a sleeping reader with 2 bytes of buffer");
}

SOLO(faulting_reader_passes_the_wakeup_on,
     .says = "a reader with a bad pointer passes its wake-up on",
     .page = "lab3.md#nobody-sleeps-beside-work", .stages = FROM_STAGE(3))
{
	void *bad = partly_bad_buffer(SIZE, 2, true);
	int fd = device_open(O_RDWR);

	expect_passed_on(fd, start_reader_into(fd, bad, SIZE), EFAULT,
			 "a sleeping reader with a bad pointer");
}

SOLO(sleeper_stops_nobody,
     .says = "while one sleeps, others can open, read, write and close",
     .page = "lab3.md#sleeping-readers", .stages = FROM_STAGE(3))
{
	char buf[SIZE];
	int fd = device_open(O_RDWR), other = device_open(O_RDWR | O_NONBLOCK);
	struct caller *reader = start_reader(fd, SIZE);

	wait_asleep(reader);
	expect_errno(read(other, buf, sizeof(buf)), EAGAIN);
	expect(!device_is_ready(other, POLLIN), "poll() while a reader sleeps",
	       "nothing to read", "POLLIN");
	close(other);
	device_send_text(device_open(O_WRONLY), "now");
	wait_returned(reader, 3, "it wakes when a message is written");
}
