// SPDX-License-Identifier: GPL-2.0
/* The control path: what ioctl() tells and changes, who may, and what a bad call leaves behind. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "module.h"
#include "privilege.h"
#include "slow.h"

#define SIZE 64
#define SLEEPERS 4

/* Fails if the counters do not fit together: that is true at every moment. */
static struct kmsgpipe_stats stats_of(int fd)
{
	struct kmsgpipe_stats stats;

	memset(&stats, 0xA5, sizeof(stats));
	expect_value(ioctl(fd, KMSGPIPE_GET_STATS, &stats), 0);
	expect(stats.written == stats.read + stats.cleared + stats.expired + stats.queued,
	       "ioctl(fd, KMSGPIPE_GET_STATS, &stats)",
	       "written = read + cleared + expired + queued",
	       "%llu written, %llu read, %llu cleared, %llu expired, %u queued",
	       (unsigned long long)stats.written, (unsigned long long)stats.read,
	       (unsigned long long)stats.cleared, (unsigned long long)stats.expired, stats.queued);
	return stats;
}

static void expect_field(const char *did, const char *field, unsigned long long value,
			 unsigned long long saw)
{
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "KMSGPIPE_GET_STATS: %s = %llu", field, value);
	expect(saw == value, did, wanted, "%s = %llu", field, saw);
}

static void expect_stats(int fd, const char *did, struct kmsgpipe_stats wanted)
{
	struct kmsgpipe_stats stats = stats_of(fd);

	expect_field(did, "written", wanted.written, stats.written);
	expect_field(did, "read", wanted.read, stats.read);
	expect_field(did, "cleared", wanted.cleared, stats.cleared);
	expect_field(did, "expired", wanted.expired, stats.expired);
	expect_field(did, "queued", wanted.queued, stats.queued);
	expect_field(did, "max_msgs", wanted.max_msgs, stats.max_msgs);
	expect_field(did, "msg_size", wanted.msg_size, stats.msg_size);
	expect_field(did, "reserved", wanted.reserved, stats.reserved);
}

static int set_limits(int fd, unsigned int max_msgs, unsigned int msg_size)
{
	struct kmsgpipe_limits limits = { .max_msgs = max_msgs, .msg_size = msg_size };

	return ioctl(fd, KMSGPIPE_SET_LIMITS, &limits);
}

static void expect_limits(int fd, const char *did, unsigned int max_msgs, unsigned int msg_size)
{
	struct kmsgpipe_stats stats = stats_of(fd);

	expect_field(did, "max_msgs", max_msgs, stats.max_msgs);
	expect_field(did, "msg_size", msg_size, stats.msg_size);
}

/* KMSGPIPE_PEEK; @size is in: bytes at @buf, out: length of the message. */
static int peek_at(int fd, unsigned int index, void *buf, unsigned int *size)
{
	struct kmsgpipe_peek peek = { .index = index, .size = *size, .buf = (uintptr_t)buf };
	int ret = ioctl(fd, KMSGPIPE_PEEK, &peek);

	*size = peek.size;
	return ret;
}

static void expect_peek(int fd, unsigned int index, const char *text)
{
	char did[64], buf[KMSGPIPE_MSG_SIZE_MAX];
	unsigned int size = sizeof(buf);
	int ret = peek_at(fd, index, buf, &size);

	snprintf(did, sizeof(did), "ioctl(KMSGPIPE_PEEK) of message %u", index);
	expect(!ret, did, "0", "%s", result(ret));
	expect(size == strlen(text), did, "size = the length of the message", "size = %u", size);
	expect(!memcmp(buf, text, size), did, text, "\"%.*s\"", (int)size, buf);
}

static void expect_peek_numbers(int fd, int first, int count)
{
	char text[32];

	for (int i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "message %d", first + i);
		expect_peek(fd, i, text);
	}
}

static struct caller *start_sleeping_writer(int fd, const char *text)
{
	struct caller *writer = start_writer(fd, text);

	wait_asleep(writer);
	return writer;
}

/* -- KMSGPIPE_GET_STATS ------------------------------------------------------------- */

SOLO(stats_begin_at_zero, .both_widths = true,
     .says = "KMSGPIPE_GET_STATS: all counters are 0 when the driver was just loaded",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4))
{
	expect_stats(device_open(O_RDONLY), "GET_STATS before anything was written",
		     (struct kmsgpipe_stats){ .max_msgs = KMSGPIPE_MAX_MSGS,
					      .msg_size = KMSGPIPE_MSG_SIZE });
}

SOLO(stats_show_the_parameters, .both_widths = true,
     .says = "KMSGPIPE_GET_STATS: the limits are those of the module parameters at first",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4), .params = "max_msgs=3 msg_size=17")
{
	expect_stats(device_open(O_RDONLY), "insmod with max_msgs=3 msg_size=17",
		     (struct kmsgpipe_stats){ .max_msgs = 3, .msg_size = 17 });
}

SOLO(stats_count_messages, .both_widths = true,
     .says = "KMSGPIPE_GET_STATS: each message counts once when written, once when read",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4))
{
	struct kmsgpipe_stats wanted = { .max_msgs = KMSGPIPE_MAX_MSGS,
					 .msg_size = KMSGPIPE_MSG_SIZE };
	int fd = device_open(O_RDWR);

	for (int i = 0; i < 7; i++) {
		device_send_numbers(fd, i, 1);
		wanted.written++;
		wanted.queued++;
		expect_stats(fd, "write() of a message", wanted);
	}
	for (int i = 0; i < 7; i++) {
		device_expect_numbers(fd, i, 1);
		wanted.read++;
		wanted.queued--;
		expect_stats(fd, "read() of a message", wanted);
	}
}

SOLO(stats_outlive_the_file, .both_widths = true,
     .says = "KMSGPIPE_GET_STATS: the counters belong to the device, not to an open file",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_WRONLY);

	device_send_numbers(fd, 0, 2);
	close(fd);
	fd = device_open(O_RDONLY);
	device_expect_numbers(fd, 0, 1);
	close(fd);
	expect_stats(device_open(O_RDONLY), "2 write(), 1 read(), each by a file of its own",
		     (struct kmsgpipe_stats){ .written = 2, .read = 1, .queued = 1,
					      .max_msgs = KMSGPIPE_MAX_MSGS,
					      .msg_size = KMSGPIPE_MSG_SIZE });
}

SOLO(failed_calls_count_nothing, .both_widths = true,
     .says = "KMSGPIPE_GET_STATS: a write() or read() that fails counts nothing",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4), .params = "max_msgs=2 msg_size=16")
{
	struct kmsgpipe_stats wanted = { .max_msgs = 2, .msg_size = 16 };
	int fd = device_open(O_RDWR | O_NONBLOCK);
	char buf[SIZE] = "";

	expect_errno(read(fd, buf, sizeof(buf)), EAGAIN);
	expect_stats(fd, "read() of an empty queue (EAGAIN)", wanted);
	expect_value(write(fd, buf, 0), 0);
	expect_stats(fd, "write() of 0 bytes", wanted);
	expect_errno(write(fd, buf, 17), EMSGSIZE);
	expect_stats(fd, "write() of a message that is too long (EMSGSIZE)", wanted);
	expect_errno(write(fd, partly_bad_buffer(8, 4, true), 8), EFAULT);
	expect_stats(fd, "write() from a bad pointer (EFAULT)", wanted);
	device_send_numbers(fd, 0, 2);
	wanted.written = 2;
	wanted.queued = 2;
	expect_errno(write(fd, "more", 4), EAGAIN);
	expect_stats(fd, "write() to a full queue (EAGAIN)", wanted);
	expect_errno(read(fd, buf, 2), EMSGSIZE);
	expect_stats(fd, "read() into a buffer that is too small (EMSGSIZE)", wanted);
	expect_errno(read(fd, partly_bad_buffer(16, 4, true), 16), EFAULT);
	expect_stats(fd, "read() into a bad pointer (EFAULT)", wanted);
	device_expect_numbers(fd, 0, 2);
}

SOLO(killed_sleepers_count_nothing,
     .says = "KMSGPIPE_GET_STATS: a sleeping reader or writer that is killed counts nothing",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4), .params = "max_msgs=1")
{
	struct kmsgpipe_stats wanted = { .max_msgs = 1, .msg_size = KMSGPIPE_MSG_SIZE };
	int fd = device_open(O_RDWR);
	struct caller *caller = start_reader(fd, SIZE);

	wait_asleep(caller);
	kill_and_reap(caller);
	expect_stats(fd, "SIGKILL to a sleeping reader", wanted);
	device_send_text(fd, "full");
	kill_and_reap(start_sleeping_writer(fd, "never"));
	wanted.written = 1;
	wanted.queued = 1;
	expect_stats(fd, "SIGKILL to a sleeping writer", wanted);
}

SOLO(anyone_may_ask_for_stats, .both_widths = true,
     .says = "KMSGPIPE_GET_STATS: anyone may ask, with any file", .page = "lab4.md#stats",
     .stages = FROM_STAGE(4))
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_NONBLOCK };

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		stats_of(device_open(modes[i]));
}

/* What a process does without end beside the others. */
static long write_on_and_on(struct caller *self)
{
	while (write(self->fd, "traffic", 7) == 7)
		;
	return -1;
}

static long read_on_and_on(struct caller *self)
{
	while (read(self->fd, self->data, SIZE) == 7)
		;
	return -1;
}

static long clear_on_and_on(struct caller *self)
{
	while (ioctl(self->fd, KMSGPIPE_CLEAR_QUEUE) >= 0)
		wait_a_moment();
	return -1;
}

#define LOOKS 60000

TEST(stats_are_of_one_moment,
     .says = "KMSGPIPE_GET_STATS: the counters fit together at every moment of busy traffic",
     .page = "lab4.md#snapshot", .stages = FROM_STAGE(4), .as_root = true, .seconds = 15)
{
	static const char did[] = "KMSGPIPE_GET_STATS again and again amid traffic";
	struct kmsgpipe_stats stats = { 0 }, before;
	int fd = device_open(O_RDWR);

	/* A moment in which they do not fit is short: no traffic stops while we look. */
	run_on_cpu(1);
	for (int i = 0; i < 2; i++) {
		start_caller(fd, "write() in a loop", write_on_and_on);
		start_caller(fd, "read() in a loop", read_on_and_on);
	}
	start_caller(fd, "KMSGPIPE_CLEAR_QUEUE in a loop", clear_on_and_on);
	run_on_cpu(0);
	for (int i = 0; another_round(i, 1000, rounds(LOOKS)) || stats.read < 500 ||
	     !stats.cleared; i++) {
		before = stats;
		stats = stats_of(fd);
		expect(stats.written >= before.written && stats.read >= before.read &&
		       stats.cleared >= before.cleared, did, "no counter ever goes down",
		       "one does");
		expect(stats.queued <= stats.max_msgs, did, "queued is never more than max_msgs",
		       "queued = %u, max_msgs = %u", stats.queued, stats.max_msgs);
		if (i % 512 == 511 && !wait_a_moment())
			test_fail(did, "messages are written, read and cleared",
				  "%llu written, %llu read, %llu cleared, then the time was up",
				  (unsigned long long)stats.written, (unsigned long long)stats.read,
				  (unsigned long long)stats.cleared);
	}
}

/* -- KMSGPIPE_CLEAR_QUEUE ----------------------------------------------------------- */

SOLO(clear_drops_all_messages, .both_widths = true,
     .says = "KMSGPIPE_CLEAR_QUEUE drops all messages and returns how many",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .as_root = true)
{
	struct kmsgpipe_stats wanted = { .written = 6, .read = 1, .cleared = 5,
					 .max_msgs = KMSGPIPE_MAX_MSGS,
					 .msg_size = KMSGPIPE_MSG_SIZE };
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 6);
	device_expect_numbers(fd, 0, 1);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 5);
	expect_stats(fd, "6 write(), 1 read(), KMSGPIPE_CLEAR_QUEUE", wanted);
	device_expect_empty(fd);
	expect(!device_is_ready(fd, POLLIN), "poll() after KMSGPIPE_CLEAR_QUEUE", "nothing to read",
	       "POLLIN");
}

SOLO(clear_of_an_empty_queue_is_fine, .both_widths = true,
     .says = "KMSGPIPE_CLEAR_QUEUE of an empty queue returns 0", .page = "lab4.md#clear",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);

	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 0);
	device_send_numbers(fd, 0, 2);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 2);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 0);
	expect_field("KMSGPIPE_CLEAR_QUEUE: 0, 2, 0", "cleared", 2, stats_of(fd).cleared);
}

SOLO(cleared_queue_can_be_used, .both_widths = true,
     .says = "after KMSGPIPE_CLEAR_QUEUE the queue takes as many as before, in order",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .params = "max_msgs=3", .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	for (int round = 0; round < 3; round++) {
		device_send_numbers(fd, 0, 3);
		expect_errno(write(fd, "more", 4), EAGAIN);
		expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 3);
	}
	device_send_numbers(fd, 10, 3);
	expect_errno(write(fd, "more", 4), EAGAIN);
	device_expect_numbers(fd, 10, 3);
	device_expect_empty(fd);
}

static void send_and_clear(int round)
{
	int fd = device_open(O_RDWR);

	(void)round;
	device_send_numbers(fd, 0, 50);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 50);
	close(fd);
}

SOLO(cleared_messages_are_freed,
     .says = "KMSGPIPE_CLEAR_QUEUE frees the messages", .page = "lab4.md#clear",
     .stages = FROM_STAGE(4), .as_root = true)
{
	long growth = slab_growth(send_and_clear, 1, rounds(30));

	expect(growth < SLAB_NOISE, "50 write(), KMSGPIPE_CLEAR_QUEUE, many times",
	       "every byte is freed again",
	       "%ld more objects in the kernel's slab caches than before", growth);
}

SOLO(clear_wakes_every_writer,
     .says = "KMSGPIPE_CLEAR_QUEUE wakes all the writers that there is room for",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .params = "max_msgs=4", .as_root = true)
{
	struct caller *writers[SLEEPERS];
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		writers[i] = start_sleeping_writer(fd, "late");
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		wait_returned(writers[i], 4, "it wakes when the queue is cleared");
	for (int i = 0; i < SLEEPERS; i++)
		device_expect_text(fd, "late");
	device_expect_empty(fd);
}

SOLO(clear_wakes_poll,
     .says = "KMSGPIPE_CLEAR_QUEUE wakes who waits in poll() for room", .page = "lab4.md#clear",
     .stages = FROM_STAGE(4), .params = "max_msgs=2", .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *poller;

	device_send_numbers(fd, 0, 2);
	poller = start_poller(fd, POLLOUT);
	wait_asleep(poller);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 2);
	wait_returned(poller, POLLOUT, "poll() wakes and says POLLOUT when the queue is cleared");
}

SOLO(clear_leaves_readers_asleep,
     .says = "KMSGPIPE_CLEAR_QUEUE gives no message to a sleeping reader", .page = "lab4.md#clear",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *reader = start_reader(fd, SIZE);

	wait_asleep(reader);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 0);
	wait_asleep(reader);
	device_send_text(fd, "message");
	wait_returned(reader, 7, "it wakes when a message is written");
}

#define LONG 200

/* Clears the queue while @slow reads the first of three messages; the others are dropped. */
static struct caller *clear_amid_read(int fd, struct caller *slow)
{
	char text[LONG];

	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 2);
	/* Memory that was freed too early is used for something else now. */
	memset(text, 'z', sizeof(text));
	for (int i = 0; i < 8; i++)
		device_send(fd, text, sizeof(text));
	let_go();
	wait_done(slow, "it ends when its page has come");
	return slow;
}

static void send_three(int fd)
{
	char text[LONG];

	for (int i = 0; i < 3; i++) {
		memset(text, 'a' + i, sizeof(text));
		device_send(fd, text, sizeof(text));
	}
}

static void expect_letters(const char *text, char letter, const char *did)
{
	for (int i = 0; i < LONG; i++)
		expect(text[i] == letter, did, "the message as it was written",
		       "byte %d is \"%c\" and not \"%c\"", i, text[i], letter);
}

/* What is left now: the eight messages, and before them one of letter @first, if not 0. */
static void expect_eight(int fd, char first)
{
	char buf[LONG];

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int i = first ? -1 : 0; i < 8; i++) {
		expect_value(read(fd, buf, sizeof(buf)), LONG);
		expect_letters(buf, i < 0 ? first : 'z', "read() after KMSGPIPE_CLEAR_QUEUE");
	}
	device_expect_empty(fd);
}

SOLO(clear_leaves_a_message_to_its_reader,
     .says = "KMSGPIPE_CLEAR_QUEUE amid a slow read(): that reader gets its message whole",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow;
	struct kmsgpipe_stats stats;

	send_three(fd);
	slow = clear_amid_read(fd, start_slow_reader(device_open(O_RDONLY), LONG));
	wait_returned(slow, LONG, "it gets the message that it was reading, of 200 bytes");
	expect_letters(slow->data, 'a', "read() during which the queue is cleared");
	stats = stats_of(fd);
	expect_field("KMSGPIPE_CLEAR_QUEUE while 1 of 3 messages is read", "read", 1, stats.read);
	expect_field("KMSGPIPE_CLEAR_QUEUE while 1 of 3 messages is read", "cleared", 2,
		     stats.cleared);
	expect_eight(fd, 0);
}

SOLO(clear_amid_a_read_that_fails,
     .says = "KMSGPIPE_CLEAR_QUEUE amid a read() that gets EFAULT: its message stays",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow;
	struct kmsgpipe_stats stats;

	send_three(fd);
	slow = clear_amid_read(fd, start_slow_bad_reader(device_open(O_RDONLY), LONG, LONG / 2));
	errno = slow->error;
	expect(slow->ret == -1 && slow->error == EFAULT, slow->doing, "-1 (EFAULT)", "%s",
	       result(slow->ret));
	stats = stats_of(fd);
	expect_field("KMSGPIPE_CLEAR_QUEUE amid a read() that fails", "read", 0, stats.read);
	expect_field("KMSGPIPE_CLEAR_QUEUE amid a read() that fails", "cleared", 2, stats.cleared);
	expect_eight(fd, 'a');
}

SOLO(clear_after_a_read_drops_the_rest, .both_widths = true,
     .says = "KMSGPIPE_CLEAR_QUEUE drops what a read() has failed to take",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);
	char buf[SIZE];

	device_send_numbers(fd, 0, 3);
	expect_errno(read(fd, buf, 2), EMSGSIZE);
	expect_errno(read(fd, partly_bad_buffer(SIZE, 2, true), SIZE), EFAULT);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 3);
	device_expect_empty(fd);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 0);
	device_send_numbers(fd, 3, 2);
	device_expect_numbers(fd, 3, 1);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 1);
}

/* -- who may ------------------------------------------------------------------------ */

/* Who the next caller is to be, and whether it uses a file that we have opened. */
static enum who asker;
static bool own_file;

static int file_of(struct caller *self)
{
	become(asker);
	return own_file ? device_open(O_RDWR) : self->fd;
}

static long clear_as_another(struct caller *self)
{
	return ioctl(file_of(self), KMSGPIPE_CLEAR_QUEUE);
}

static long limit_as_another(struct caller *self)
{
	return set_limits(file_of(self), 5, 50);
}

static void expect_eperm(struct caller *caller)
{
	wait_done(caller, "-1 (EPERM)");
	errno = caller->error;
	expect(caller->ret == -1 && caller->error == EPERM, caller->doing, "-1 (EPERM)", "%s",
	       result(caller->ret));
}

/* Neither command is for who() has become; nothing changes. */
static void expect_not_allowed(enum who who, bool opens)
{
	int fd = device_open(O_RDWR);
	struct kmsgpipe_stats before;

	asker = who;
	own_file = opens;
	device_send_numbers(fd, 0, 3);
	before = stats_of(fd);
	expect_eperm(start_caller(fd, "ioctl(fd, KMSGPIPE_CLEAR_QUEUE)", clear_as_another));
	expect_stats(fd, "KMSGPIPE_CLEAR_QUEUE that got EPERM", before);
	expect_eperm(start_caller(fd, "ioctl(fd, KMSGPIPE_SET_LIMITS, &limits)",
				  limit_as_another));
	expect_stats(fd, "KMSGPIPE_SET_LIMITS that got EPERM", before);
	device_expect_numbers(fd, 0, 3);
	device_expect_empty(fd);
}

/* Both are; they have their effect. */
static void expect_allowed(enum who who, bool opens)
{
	int fd = device_open(O_RDWR);

	asker = who;
	own_file = opens;
	device_send_numbers(fd, 0, 3);
	wait_returned(start_caller(fd, "ioctl(fd, KMSGPIPE_CLEAR_QUEUE)", clear_as_another), 3,
		      "3: it drops 3 messages");
	wait_returned(start_caller(fd, "ioctl(fd, KMSGPIPE_SET_LIMITS, &limits)",
				   limit_as_another), 0, "0: it changes the limits");
	expect_limits(fd, "KMSGPIPE_SET_LIMITS", 5, 50);
	device_expect_empty(fd);
}

SOLO(clear_needs_the_capability,
     .says = "KMSGPIPE_CLEAR_QUEUE by an ordinary user gets EPERM and drops nothing",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);
	struct kmsgpipe_stats before;

	device_send_numbers(fd, 0, 3);
	before = stats_of(fd);
	expect_errno(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), EPERM);
	expect_stats(fd, "KMSGPIPE_CLEAR_QUEUE that got EPERM", before);
	device_expect_numbers(fd, 0, 3);
	device_expect_empty(fd);
}

SOLO(limits_need_the_capability,
     .says = "KMSGPIPE_SET_LIMITS by an ordinary user gets EPERM and changes nothing",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);

	expect_errno(set_limits(fd, 1, 1), EPERM);
	expect_errno(set_limits(fd, KMSGPIPE_MAX_MSGS_MAX, KMSGPIPE_MSG_SIZE_MAX), EPERM);
	expect_limits(fd, "KMSGPIPE_SET_LIMITS that got EPERM", KMSGPIPE_MAX_MSGS,
		      KMSGPIPE_MSG_SIZE);
}

SOLO(root_without_the_capability_may_not,
     .says = "root without CAP_SYS_ADMIN gets EPERM: the capability counts, not the uid",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4), .as_root = true)
{
	expect_not_allowed(WHO_WEAK_ROOT, true);
}

SOLO(user_with_the_capability_may,
     .says = "an ordinary user with CAP_SYS_ADMIN may clear and set limits",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4), .as_root = true)
{
	expect_allowed(WHO_ADMIN_USER, true);
}

SOLO(root_of_a_namespace_may_not,
     .says = "root of a user namespace of its own gets EPERM: anybody can become that",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4), .as_root = true)
{
	expect_not_allowed(WHO_NAMESPACE_ROOT, true);
}

SOLO(file_of_root_gives_no_privilege,
     .says = "who has dropped root's privileges gets EPERM on a file that root has opened",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4), .as_root = true)
{
	expect_not_allowed(WHO_USER, false);
}

SOLO(root_may,
     .says = "root may clear the queue and set limits", .page = "lab4.md#privilege",
     .stages = FROM_STAGE(4), .as_root = true)
{
	expect_allowed(WHO_ROOT, false);
}

/* -- KMSGPIPE_SET_LIMITS ------------------------------------------------------------ */

SOLO(new_limits_take_effect, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS: both new limits hold at once", .page = "lab4.md#limits",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_value(set_limits(fd, 2, 5), 0);
	expect_limits(fd, "KMSGPIPE_SET_LIMITS of 2 and 5", 2, 5);
	expect_errno(write(fd, "sixsix", 6), EMSGSIZE);
	device_send_text(fd, "five5");
	device_send_text(fd, "last");
	expect_errno(write(fd, "full", 4), EAGAIN);
	device_expect_text(fd, "five5");
	device_expect_text(fd, "last");
	device_expect_empty(fd);
}

SOLO(limits_can_be_the_least, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS takes 1 and 1: one message of one byte", .page = "lab4.md#limits",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_value(set_limits(fd, 1, 1), 0);
	expect_limits(fd, "KMSGPIPE_SET_LIMITS of 1 and 1", 1, 1);
	expect_errno(write(fd, "12", 2), EMSGSIZE);
	device_send_text(fd, "1");
	expect_errno(write(fd, "2", 1), EAGAIN);
	device_expect_text(fd, "1");
}

SOLO(limits_can_be_the_most, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS takes 65536 and 4096, the most that there can be",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);
	char text[KMSGPIPE_MSG_SIZE_MAX + 1];

	memset(text, 'm', sizeof(text));
	expect_value(set_limits(fd, KMSGPIPE_MAX_MSGS_MAX, KMSGPIPE_MSG_SIZE_MAX), 0);
	expect_limits(fd, "KMSGPIPE_SET_LIMITS of 65536 and 4096", KMSGPIPE_MAX_MSGS_MAX,
		      KMSGPIPE_MSG_SIZE_MAX);
	expect_errno(write(fd, text, KMSGPIPE_MSG_SIZE_MAX + 1), EMSGSIZE);
	device_send(fd, text, KMSGPIPE_MSG_SIZE_MAX);
	text[KMSGPIPE_MSG_SIZE_MAX] = '\0';
	expect_peek(fd, 0, text);
	device_expect_text(fd, text);
	device_send_numbers(fd, 0, 2 * KMSGPIPE_MAX_MSGS);
	device_expect_numbers(fd, 0, 2 * KMSGPIPE_MAX_MSGS);
}

SOLO(limits_out_of_range_are_refused, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS out of range gets EINVAL and changes neither limit",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	static const unsigned int bad[][2] = {
		{ 0, 10 }, { 10, 0 }, { 0, 0 },
		{ KMSGPIPE_MAX_MSGS_MAX + 1, 10 }, { 10, KMSGPIPE_MSG_SIZE_MAX + 1 },
		{ UINT32_MAX, 10 }, { 10, UINT32_MAX }, { UINT32_MAX, UINT32_MAX },
		{ 0x80000000, 10 }, { 10, 0x80000000 },
	};
	int fd = device_open(O_RDWR);
	char did[96];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int ret = set_limits(fd, bad[i][0], bad[i][1]);

		snprintf(did, sizeof(did), "KMSGPIPE_SET_LIMITS of max_msgs = %u, msg_size = %u",
			 bad[i][0], bad[i][1]);
		expect(ret == -1 && errno == EINVAL, did, "-1 (EINVAL)", "%s", result(ret));
		expect_limits(fd, did, KMSGPIPE_MAX_MSGS, KMSGPIPE_MSG_SIZE);
	}
}

SOLO(limits_reserved_must_be_zero, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS with a reserved field that is not 0 gets EINVAL",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);

	for (int i = 0; i < 2; i++) {
		static const uint32_t values[] = { 1, 0x80000000, UINT32_MAX };

		for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
			struct kmsgpipe_limits limits = { .max_msgs = 10, .msg_size = 10 };

			limits.reserved[i] = values[j];
			expect_errno(ioctl(fd, KMSGPIPE_SET_LIMITS, &limits), EINVAL);
			expect_limits(fd, "KMSGPIPE_SET_LIMITS that got EINVAL", KMSGPIPE_MAX_MSGS,
				      KMSGPIPE_MSG_SIZE);
		}
	}
}

SOLO(lowering_max_msgs_drops_nothing, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS below what is queued: nothing is lost, order is kept",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_numbers(fd, 0, 5);
	expect_value(set_limits(fd, 2, SIZE), 0);
	expect_field("KMSGPIPE_SET_LIMITS of max_msgs = 2, 5 are queued", "queued", 5,
		     stats_of(fd).queued);
	device_expect_numbers(fd, 0, 5);
	device_expect_empty(fd);
}

SOLO(lowered_max_msgs_stops_writers, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS below what is queued: no room until enough were read",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_numbers(fd, 0, 5);
	expect_value(set_limits(fd, 2, SIZE), 0);
	for (int queued = 5; queued >= 2; queued--) {
		expect(!device_is_ready(fd, POLLOUT), "poll() with as many queued as may be",
		       "no room", "POLLOUT with %d queued, max_msgs is 2", queued);
		expect_errno(write(fd, "more", 4), EAGAIN);
		device_expect_numbers(fd, 5 - queued, 1);
	}
	expect(device_is_ready(fd, POLLOUT), "poll() with 1 queued, max_msgs is 2", "POLLOUT",
	       "no room");
	device_send_numbers(fd, 5, 1);
	expect_errno(write(fd, "more", 4), EAGAIN);
	device_expect_numbers(fd, 4, 2);
}

SOLO(writer_waits_for_the_lowered_limit,
     .says = "KMSGPIPE_SET_LIMITS below what is queued: a writer sleeps until enough were read",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .params = "max_msgs=4", .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *writer;

	device_send_numbers(fd, 0, 4);
	writer = start_sleeping_writer(fd, "late");
	expect_value(set_limits(fd, 2, SIZE), 0);
	wait_asleep(writer);
	/* After each of these two the writer may look, but finds 3 and 2 messages. */
	for (int i = 0; i < 2; i++) {
		device_expect_numbers(fd, i, 1);
		wait_asleep(writer);
	}
	device_expect_numbers(fd, 2, 1);
	wait_returned(writer, 4, "it wakes when fewer are queued than the new max_msgs");
	device_expect_numbers(fd, 3, 1);
	device_expect_text(fd, "late");
}

SOLO(lowering_msg_size_cuts_nothing, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS below a queued message's length: it can be read whole",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	static const char text[] = "a message that is longer than the new limit";
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_text(fd, text);
	expect_value(set_limits(fd, 2, 4), 0);
	expect_errno(write(fd, "five5", 5), EMSGSIZE);
	device_send_text(fd, "four");
	expect_peek(fd, 0, text);
	expect_peek(fd, 1, "four");
	device_expect_text(fd, text);
	device_expect_text(fd, "four");
}

TEST(write_keeps_the_size_it_began_with,
     .says = "KMSGPIPE_SET_LIMITS does not shorten a write() that has begun",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .params = "max_msgs=1", .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *writer, *slow;

	device_send_text(fd, "full");
	writer = start_sleeping_writer(fd, "asleep before");
	expect_value(set_limits(fd, 1, 4), 0);
	wait_asleep(writer);
	device_expect_text(fd, "full");
	wait_returned(writer, 13, "it writes its 13 bytes: msg_size was 256 when it began");
	device_expect_text(fd, "asleep before");

	expect_value(set_limits(fd, 1, KMSGPIPE_MSG_SIZE), 0);
	slow = start_slow_writer(fd, "slow before");
	expect_value(set_limits(fd, 1, 4), 0);
	let_go();
	wait_returned(slow, 11, "it writes its 11 bytes: msg_size was 256 when it began");
	device_expect_text(fd, "slow before");
}

SOLO(raising_max_msgs_wakes_every_writer,
     .says = "KMSGPIPE_SET_LIMITS: more room wakes all the writers that there is room for",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .params = "max_msgs=1", .as_root = true)
{
	struct caller *writers[SLEEPERS];
	int fd = device_open(O_RDWR);

	device_send_text(fd, "first");
	for (int i = 0; i < SLEEPERS; i++)
		writers[i] = start_sleeping_writer(fd, "late");
	expect_value(set_limits(fd, 1 + SLEEPERS, SIZE), 0);
	for (int i = 0; i < SLEEPERS; i++)
		wait_returned(writers[i], 4, "it wakes when max_msgs is raised: there is room");
	device_expect_text(fd, "first");
	for (int i = 0; i < SLEEPERS; i++)
		device_expect_text(fd, "late");
	device_expect_empty(fd);
}

TEST(raising_max_msgs_overfills_nothing,
     .says = "KMSGPIPE_SET_LIMITS: room for two more lets two of four writers in",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .params = "max_msgs=1", .as_root = true)
{
	static const char did[] = "KMSGPIPE_SET_LIMITS of 3, 1 is queued, 4 writers sleep";
	struct caller *writers[SLEEPERS];
	int fd = device_open(O_RDWR), done = 0;

	device_send_text(fd, "first");
	for (int i = 0; i < SLEEPERS; i++)
		writers[i] = start_sleeping_writer(fd, "late");
	expect_value(set_limits(fd, 3, SIZE), 0);
	while (stats_of(fd).queued < 3)
		if (!wait_a_moment())
			test_fail(did, "2 of them write", "%u messages are queued",
				  stats_of(fd).queued);
	/* The others sleep on, or again. */
	for (int i = 0; i < SLEEPERS; i++)
		sleeps_again(writers[i]);
	for (int i = 0; i < SLEEPERS; i++)
		done += writers[i]->done;
	expect_field(did, "queued", 3, stats_of(fd).queued);
	expect(done == 2, did, "2 write() return", "%d return", done);
}

SOLO(raising_max_msgs_wakes_poll,
     .says = "KMSGPIPE_SET_LIMITS: more room wakes who waits in poll() for it",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .params = "max_msgs=1", .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *poller;

	device_send_text(fd, "full");
	poller = start_poller(fd, POLLOUT);
	wait_asleep(poller);
	expect_value(set_limits(fd, 2, SIZE), 0);
	wait_returned(poller, POLLOUT, "poll() wakes and says POLLOUT when max_msgs is raised");
}

/* -- KMSGPIPE_PEEK ------------------------------------------------------------------ */

SOLO(peek_shows_each_message, .both_widths = true,
     .says = "KMSGPIPE_PEEK shows message number index; 0 is the one that is read next",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 5);
	expect_peek_numbers(fd, 0, 5);
	device_expect_numbers(fd, 0, 2);
	expect_peek_numbers(fd, 2, 3);
}

SOLO(peek_takes_nothing, .both_widths = true,
     .says = "KMSGPIPE_PEEK takes no message, changes no counter and no order",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);
	struct kmsgpipe_stats before;

	device_send_numbers(fd, 0, 3);
	before = stats_of(fd);
	for (int i = 0; i < 3; i++)
		expect_peek_numbers(fd, 0, 3);
	expect_stats(fd, "9 times KMSGPIPE_PEEK", before);
	device_expect_numbers(fd, 0, 3);
	device_expect_empty(fd);
}

SOLO(peek_beyond_the_last_says_enoent, .both_widths = true,
     .says = "KMSGPIPE_PEEK beyond the last message gets ENOENT", .page = "lab4.md#peek",
     .stages = FROM_STAGE(4))
{
	static const unsigned int beyond[] = { 3, 4, 1000, 0x7fffffff, 0x80000000, UINT32_MAX };
	int fd = device_open(O_RDWR);
	char buf[SIZE];

	device_send_numbers(fd, 0, 3);
	for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
		unsigned int size = sizeof(buf);
		int ret = peek_at(fd, beyond[i], buf, &size);
		char did[64];

		snprintf(did, sizeof(did), "ioctl(KMSGPIPE_PEEK) of message %u of 3", beyond[i]);
		expect(ret == -1 && errno == ENOENT, did, "-1 (ENOENT)", "%s", result(ret));
	}
	device_expect_numbers(fd, 0, 3);
}

static long peek_first(struct caller *self)
{
	unsigned int size = SIZE;
	int ret = peek_at(self->fd, 0, self->data, &size);

	return ret ? ret : (long)size;
}

SOLO(peek_never_waits, .both_widths = true,
     .says = "KMSGPIPE_PEEK of an empty queue gets ENOENT at once, even without O_NONBLOCK",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	struct caller *caller = start_caller(device_open(O_RDWR),
					     "ioctl(KMSGPIPE_PEEK) of an empty queue", peek_first);

	wait_done(caller, "-1 (ENOENT) at once");
	errno = caller->error;
	expect(caller->ret == -1 && caller->error == ENOENT, caller->doing, "-1 (ENOENT)", "%s",
	       result(caller->ret));
}

SOLO(peek_does_not_wait_for_a_reader,
     .says = "KMSGPIPE_PEEK shows a message that a slow reader is just copying",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow, *peeker;

	device_send_numbers(fd, 0, 2);
	slow = start_slow_reader(device_open(O_RDONLY), SIZE);
	peeker = start_caller(fd, "ioctl(KMSGPIPE_PEEK) while a slow reader copies", peek_first);
	wait_returned(peeker, 9, "9: it shows the message and waits for nobody");
	expect(!memcmp(peeker->data, "message 0", 9), peeker->doing, "\"message 0\"", "\"%.9s\"",
	       peeker->data);
	let_go();
	wait_returned(slow, 9, "it ends when its page has come");
	expect_peek_numbers(fd, 1, 1);
	device_expect_numbers(fd, 1, 1);
}

/* Fails if anything but the first @len bytes of @buf differs from 0xA5. */
static void expect_untouched(const unsigned char *buf, size_t from, size_t to, const char *did)
{
	for (size_t i = from; i < to; i++)
		expect(buf[i] == 0xA5, did, "no byte beyond the message is written",
		       "byte %zu of the buffer has changed to 0x%02x", i, buf[i]);
}

SOLO(peek_refuses_a_small_buffer, .both_widths = true,
     .says = "KMSGPIPE_PEEK into too small a buffer gets EMSGSIZE and tells the length",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);
	unsigned char buf[SIZE];

	device_send_numbers(fd, 0, 1);
	memset(buf, 0xA5, sizeof(buf));
	for (unsigned int room = 0; room < 9; room++) {
		unsigned int size = room;

		expect_errno(peek_at(fd, 0, buf, &size), EMSGSIZE);
		expect(size == 9, "ioctl(KMSGPIPE_PEEK) that got EMSGSIZE",
		       "size = 9, the length of the message", "size = %u", size);
		expect_untouched(buf, 0, sizeof(buf), "ioctl(KMSGPIPE_PEEK) that got EMSGSIZE");
	}
	expect_peek_numbers(fd, 0, 1);
	device_expect_numbers(fd, 0, 1);
}

SOLO(peek_of_size_0_tells_the_length, .both_widths = true,
     .says = "KMSGPIPE_PEEK with size 0 and no buffer tells the length", .page = "lab4.md#peek",
     .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);
	unsigned int size = 0;

	device_send_numbers(fd, 0, 1);
	expect_errno(peek_at(fd, 0, NULL, &size), EMSGSIZE);
	expect(size == 9, "ioctl(KMSGPIPE_PEEK) with size = 0, buf = 0", "size = 9", "size = %u",
	       size);
}

SOLO(peek_writes_the_message_only, .both_widths = true,
     .says = "KMSGPIPE_PEEK writes no byte beyond the message, however large the buffer",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	static const unsigned int sizes[] = { 9, 10, KMSGPIPE_MSG_SIZE_MAX, UINT32_MAX };
	unsigned char buf[2 * KMSGPIPE_MSG_SIZE_MAX];
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 1);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned int size = sizes[i];

		memset(buf, 0xA5, sizeof(buf));
		expect_value(peek_at(fd, 0, buf, &size), 0);
		expect(size == 9 && !memcmp(buf, "message 0", 9), "ioctl(KMSGPIPE_PEEK)",
		       "\"message 0\", size = 9", "\"%.9s\", size = %u", buf, size);
		expect_untouched(buf, 9, sizeof(buf), "ioctl(KMSGPIPE_PEEK) of 9 bytes");
	}
	/* The last byte of what may be touched is the last one of the message. */
	expect_value(ioctl(fd, KMSGPIPE_PEEK,
			   &((struct kmsgpipe_peek){
				.size = SIZE,
				.buf = (uintptr_t)partly_bad_buffer(SIZE, 9, true) })), 0);
}

SOLO(peek_reserved_must_be_zero, .both_widths = true,
     .says = "KMSGPIPE_PEEK with a reserved field that is not 0 gets EINVAL",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	static const uint64_t values[] = { 1, 1ULL << 31, 1ULL << 32, 1ULL << 63, UINT64_MAX };
	int fd = device_open(O_RDWR);
	unsigned char buf[SIZE];

	device_send_numbers(fd, 0, 1);
	memset(buf, 0xA5, sizeof(buf));
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct kmsgpipe_peek peek = { .size = sizeof(buf), .buf = (uintptr_t)buf,
					      .reserved = values[i] };

		expect_errno(ioctl(fd, KMSGPIPE_PEEK, &peek), EINVAL);
		expect_untouched(buf, 0, sizeof(buf), "ioctl(KMSGPIPE_PEEK) that got EINVAL");
	}
	device_expect_numbers(fd, 0, 1);
}

SOLO(peek_needs_a_file_for_reading, .both_widths = true,
     .says = "KMSGPIPE_PEEK on a file that is open for writing only gets EBADF",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_WRONLY);
	unsigned int size = SIZE;
	unsigned char buf[SIZE];

	memset(buf, 0xA5, sizeof(buf));
	device_send_numbers(fd, 0, 1);
	expect_errno(peek_at(fd, 0, buf, &size), EBADF);
	expect_untouched(buf, 0, sizeof(buf), "ioctl(KMSGPIPE_PEEK) that got EBADF");
	expect_peek_numbers(device_open(O_RDONLY), 0, 1);
}

/* -- user pointers ------------------------------------------------------------------ */

/* Pointers that are bad as a whole. The kernel's own addresses among them. */
static void *const bad_pointers[] = {
	NULL, (void *)16, (void *)(UINTPTR_MAX - 4095), (void *)(UINTPTR_MAX / 4 * 3),
};

#define POINTERS (sizeof(bad_pointers) / sizeof(bad_pointers[0]))

static const size_t good_parts[] = { 0, 1, 4, 8, 12, 15 };
#define PARTS (sizeof(good_parts) / sizeof(good_parts[0]))

/*
 * Command @cmd with each kind of bad pointer to its struct, of which @good is a good one.
 * Where the kernel writes to it (@filled), a page that is there for reading only is bad, too.
 */
static void expect_faults(int fd, unsigned long cmd, const char *name, const void *good,
			  size_t size, bool filled)
{
	struct kmsgpipe_stats before = stats_of(fd);
	char did[96], *part;
	int ret;

	for (size_t i = 0; i < POINTERS; i++) {
		ret = ioctl(fd, cmd, bad_pointers[i]);
		snprintf(did, sizeof(did), "ioctl(fd, %s, %p)", name, bad_pointers[i]);
		expect(ret == -1 && errno == EFAULT, did, "-1 (EFAULT)", "%s", result(ret));
	}
	for (size_t i = 0; i < PARTS; i++) {
		part = partly_bad_buffer(size, good_parts[i], true);
		memcpy(part, good, good_parts[i]);
		ret = ioctl(fd, cmd, part);
		snprintf(did, sizeof(did), "ioctl(fd, %s, ...), only %zu bytes can be touched",
			 name, good_parts[i]);
		expect(ret == -1 && errno == EFAULT, did, "-1 (EFAULT)", "%s", result(ret));
	}
	if (filled) {
		/* Our constants lie on such pages. */
		ret = ioctl(fd, cmd, good);
		snprintf(did, sizeof(did), "ioctl(fd, %s, ...) with read-only memory", name);
		expect(ret == -1 && errno == EFAULT, did, "-1 (EFAULT)", "%s", result(ret));
	}
	expect_stats(fd, "ioctl() calls that got EFAULT", before);
	device_expect_numbers(fd, 0, before.queued);
	device_expect_empty(fd);
}

/* Good ones for expect_faults(), in memory that can only be read. */
static const struct kmsgpipe_stats const_stats = { .written = 1 };
static const struct kmsgpipe_limits const_limits = { .max_msgs = 10, .msg_size = 10 };
static const struct kmsgpipe_peek const_peek = { .index = 1 };

SOLO(stats_fault_changes_nothing, .both_widths = true,
     .says = "KMSGPIPE_GET_STATS with a bad pointer gets EFAULT", .page = "lab4.md#user-pointers",
     .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 2);
	expect_faults(fd, KMSGPIPE_GET_STATS, "KMSGPIPE_GET_STATS", &const_stats,
		      sizeof(const_stats), true);
}

SOLO(limits_fault_changes_nothing, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS with a bad pointer gets EFAULT and changes nothing",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 2);
	expect_faults(fd, KMSGPIPE_SET_LIMITS, "KMSGPIPE_SET_LIMITS", &const_limits,
		      sizeof(const_limits), false);
}

SOLO(limits_may_be_read_only, .both_widths = true,
     .says = "KMSGPIPE_SET_LIMITS reads its struct and does not write to it",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);

	expect_value(ioctl(fd, KMSGPIPE_SET_LIMITS, &const_limits), 0);
	expect_limits(fd, "KMSGPIPE_SET_LIMITS with read-only memory", 10, 10);
}

SOLO(peek_fault_changes_nothing, .both_widths = true,
     .says = "KMSGPIPE_PEEK with a bad pointer to its struct gets EFAULT and takes nothing",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 2);
	/* Its size is 0: the length of message 1 has to be written to the struct. */
	expect_faults(fd, KMSGPIPE_PEEK, "KMSGPIPE_PEEK", &const_peek, sizeof(const_peek), true);
}

SOLO(peek_buffer_fault_changes_nothing, .both_widths = true,
     .says = "KMSGPIPE_PEEK into a bad buffer gets EFAULT and takes nothing",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);
	struct kmsgpipe_stats before;
	unsigned int size;

	device_send_numbers(fd, 0, 2);
	before = stats_of(fd);
	for (size_t i = 0; i < POINTERS; i++) {
		size = SIZE;
		expect_errno(peek_at(fd, 0, bad_pointers[i], &size), EFAULT);
	}
	for (size_t good = 0; good < 9; good++) {
		size = SIZE;
		expect_errno(peek_at(fd, 0, partly_bad_buffer(SIZE, good, true), &size), EFAULT);
	}
	size = SIZE;
	expect_errno(peek_at(fd, 0, partly_bad_buffer(SIZE, SIZE, false), &size), EFAULT);
	expect_stats(fd, "KMSGPIPE_PEEK that got EFAULT", before);
	expect_peek_numbers(fd, 0, 2);
	device_expect_numbers(fd, 0, 2);
	device_expect_empty(fd);
}

SOLO(clear_takes_no_argument, .both_widths = true,
     .says = "KMSGPIPE_CLEAR_QUEUE does not look at its argument", .page = "lab4.md#user-pointers",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);

	for (size_t i = 0; i < POINTERS; i++) {
		device_send_numbers(fd, 0, 2);
		expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE, bad_pointers[i]), 2);
	}
}

/*
 * Leaves 0x5A all over our kernel stack, as far as calls go that copy there what we give
 * them. What they return does not matter.
 */
static void litter_the_stack(void)
{
	struct pollfd pfds[30];
	struct sockaddr_storage address;
	struct timeval now = { 0 };
	fd_set sets[3];
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memset(pfds, 0x5A, sizeof(pfds));
	/* Negative: not looked at. */
	for (int i = 0; i < 30; i++)
		pfds[i].fd = 0xDA5A5A5A;
	memset(&address, 0x5A, sizeof(address));
	memset(sets, 0x5A, sizeof(sets));
	poll(pfds, 30, 0);
	select(320, &sets[0], &sets[1], &sets[2], &now);
	sendto(sock, pfds, 1, 0, (struct sockaddr *)&address, sizeof(address));
	close(sock);
}

static void expect_same(const void *saw, const void *wanted, size_t size, const char *did)
{
	const unsigned char *a = saw, *b = wanted;

	for (size_t i = 0; i < size; i++)
		expect(a[i] == b[i], did, "every byte is what include/kmsgpipe.h says",
		       "byte %zu is 0x%02x and not 0x%02x%s", i, a[i], b[i],
		       a[i] == 0xA5 ? ": it was not written" :
		       a[i] == 0x5A ? ": it comes from the kernel's stack" : "");
}

SOLO(stats_show_no_kernel_memory, .both_widths = true,
     .says = "KMSGPIPE_GET_STATS fills every byte; none shows what was on the kernel's stack",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4))
{
	static const struct kmsgpipe_stats wanted = {
		.written = 3, .read = 1, .queued = 2, .max_msgs = KMSGPIPE_MAX_MSGS,
		.msg_size = KMSGPIPE_MSG_SIZE,
	};
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 3);
	device_expect_numbers(fd, 0, 1);
	for (int i = 0; i < 10; i++) {
		struct kmsgpipe_stats stats;

		memset(&stats, 0xA5, sizeof(stats));
		litter_the_stack();
		expect_value(ioctl(fd, KMSGPIPE_GET_STATS, &stats), 0);
		expect_same(&stats, &wanted, sizeof(stats), "ioctl(KMSGPIPE_GET_STATS)");
	}
}

SOLO(peek_changes_size_only, .both_widths = true,
     .says = "KMSGPIPE_PEEK changes nothing in its struct but size",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);
	char buf[SIZE];

	device_send_numbers(fd, 0, 3);
	for (int i = 0; i < 3; i++) {
		struct kmsgpipe_peek peek = { .index = i, .size = SIZE, .buf = (uintptr_t)buf };
		struct kmsgpipe_peek wanted = peek;

		wanted.size = 9;
		litter_the_stack();
		expect_value(ioctl(fd, KMSGPIPE_PEEK, &peek), 0);
		expect_same(&peek, &wanted, sizeof(peek), "ioctl(KMSGPIPE_PEEK)");
		peek.size = 5;
		expect_errno(ioctl(fd, KMSGPIPE_PEEK, &peek), EMSGSIZE);
		expect_same(&peek, &wanted, sizeof(peek), "ioctl(KMSGPIPE_PEEK), EMSGSIZE");
	}
}

/* -- unknown commands --------------------------------------------------------------- */

/* Numbers that are nobody's, and ours with another direction, size or magic. */
static const struct {
	unsigned long cmd;
	const char *what;
} unknown[] = {
	{ 0, "0" },
	{ _IO(KMSGPIPE_IOC_MAGIC, 0), "number 0" },
	{ _IO(KMSGPIPE_IOC_MAGIC, 99), "number 99" },
	{ _IO(KMSGPIPE_IOC_MAGIC, 255), "number 255" },
	{ _IOR(KMSGPIPE_IOC_MAGIC, 99, struct kmsgpipe_stats), "number 99, a struct" },
	{ _IO(KMSGPIPE_IOC_MAGIC, 1), "GET_STATS without a struct" },
	{ _IOW(KMSGPIPE_IOC_MAGIC, 1, struct kmsgpipe_stats), "GET_STATS as _IOW" },
	{ _IOWR(KMSGPIPE_IOC_MAGIC, 1, struct kmsgpipe_stats), "GET_STATS as _IOWR" },
	{ _IOR(KMSGPIPE_IOC_MAGIC, 1, char[40]), "GET_STATS of 40 bytes" },
	{ _IOR(KMSGPIPE_IOC_MAGIC, 1, char[56]), "GET_STATS of 56 bytes" },
	{ _IOR(KMSGPIPE_IOC_MAGIC, 2, int), "CLEAR_QUEUE as _IOR" },
	{ _IOW(KMSGPIPE_IOC_MAGIC, 2, int), "CLEAR_QUEUE as _IOW" },
	{ _IO(KMSGPIPE_IOC_MAGIC, 3), "SET_LIMITS without a struct" },
	{ _IOR(KMSGPIPE_IOC_MAGIC, 3, struct kmsgpipe_limits), "SET_LIMITS as _IOR" },
	{ _IOW(KMSGPIPE_IOC_MAGIC, 3, char[8]), "SET_LIMITS of 8 bytes" },
	{ _IOW(KMSGPIPE_IOC_MAGIC, 3, char[24]), "SET_LIMITS of 24 bytes" },
	{ _IO(KMSGPIPE_IOC_MAGIC, 4), "PEEK without a struct" },
	{ _IOR(KMSGPIPE_IOC_MAGIC, 4, struct kmsgpipe_peek), "PEEK as _IOR" },
	{ _IOWR(KMSGPIPE_IOC_MAGIC, 4, char[16]), "PEEK of 16 bytes" },
	{ _IOR(KMSGPIPE_IOC_MAGIC + 1, 1, struct kmsgpipe_stats), "GET_STATS of magic 0xEA" },
	{ _IO(KMSGPIPE_IOC_MAGIC - 1, 2), "CLEAR_QUEUE of magic 0xE8" },
	{ _IOW('k', 3, struct kmsgpipe_limits), "SET_LIMITS of magic 'k'" },
};

static void expect_all_unknown(int fd)
{
	/* As a struct kmsgpipe_limits it would be a good one. */
	uint32_t arg[64] = { 10, 10 }, before[64];
	struct kmsgpipe_stats stats;

	device_send_numbers(fd, 0, 2);
	stats = stats_of(fd);
	memcpy(before, arg, sizeof(arg));
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		int ret = ioctl(fd, unknown[i].cmd, arg);
		char did[96];

		snprintf(did, sizeof(did), "ioctl(fd, 0x%08lx): %s", unknown[i].cmd,
			 unknown[i].what);
		expect(ret == -1 && errno == ENOTTY, did, "-1 (ENOTTY)", "%s", result(ret));
		expect(!memcmp(arg, before, sizeof(arg)), did, "no byte of the argument changes",
		       "one does");
		expect_stats(fd, did, stats);
	}
	device_expect_numbers(fd, 0, 2);
	device_expect_empty(fd);
}

SOLO(unknown_commands_say_enotty, .both_widths = true,
     .says = "an unknown command gets ENOTTY and changes nothing", .page = "lab4.md#unknown",
     .stages = FROM_STAGE(4))
{
	expect_all_unknown(device_open(O_RDWR));
}

SOLO(unknown_commands_say_enotty_to_root, .both_widths = true,
     .says = "an unknown command gets ENOTTY and changes nothing, for root, too",
     .page = "lab4.md#unknown", .stages = FROM_STAGE(4), .as_root = true)
{
	expect_all_unknown(device_open(O_RDWR));
}

/* -- the kernel log ----------------------------------------------------------------- */

/* By whatever words: pr_info(), dev_info() and printk() begin a line in different ways. */
static void expect_logged(int before, const char *did)
{
	expect(log_lines_with("") > before, did, "a line in the kernel log", "no new line");
}

SOLO(every_command_is_logged,
     .says = "every command leaves a line in the kernel log", .page = "lab4.md#log",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR), before;
	unsigned int size = SIZE;
	char buf[SIZE];

	device_send_numbers(fd, 0, 1);
	before = log_lines_with("");
	stats_of(fd);
	expect_logged(before, "ioctl(KMSGPIPE_GET_STATS)");
	before = log_lines_with("");
	expect_value(peek_at(fd, 0, buf, &size), 0);
	expect_logged(before, "ioctl(KMSGPIPE_PEEK)");
	before = log_lines_with("");
	expect_value(set_limits(fd, 3, 30), 0);
	expect_logged(before, "ioctl(KMSGPIPE_SET_LIMITS)");
	before = log_lines_with("");
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 1);
	expect_logged(before, "ioctl(KMSGPIPE_CLEAR_QUEUE)");
	before = log_lines_with("");
	expect_errno(ioctl(fd, _IO(KMSGPIPE_IOC_MAGIC, 99)), ENOTTY);
	expect_logged(before, "ioctl() of an unknown command");
}

SOLO(peek_keeps_messages_out_of_the_log,
     .says = "KMSGPIPE_PEEK: what a message says never gets into the kernel log",
     .page = "lab4.md#log", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR), count;

	device_send_text(fd, "\n<0>judge-probe: forged");
	expect_peek(fd, 0, "\n<0>judge-probe: forged");
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 1);
	count = log_lines_with("judge-probe");
	expect(count == 0, "write() of a text, then KMSGPIPE_PEEK and KMSGPIPE_CLEAR_QUEUE",
	       "no line of the kernel log contains it", "%d lines do: a user can forge log lines",
	       count);
}

/* Everything an ordinary user can do with commands, refused or not, @count times. */
static long flood(struct caller *self)
{
	struct kmsgpipe_limits odd = { .reserved = { 1, 1 } };
	struct kmsgpipe_peek peek = { .reserved = 1 };
	struct kmsgpipe_stats stats;
	int write_only;

	become(WHO_USER);
	write_only = device_open(O_WRONLY);
	for (int i = 0; i < rounds(300); i++) {
		unsigned int size = 0;

		ioctl(self->fd, KMSGPIPE_GET_STATS, &stats);
		ioctl(self->fd, KMSGPIPE_GET_STATS, NULL);
		ioctl(self->fd, KMSGPIPE_CLEAR_QUEUE);
		set_limits(self->fd, 1, 1);
		set_limits(self->fd, 0, UINT32_MAX);
		ioctl(self->fd, KMSGPIPE_SET_LIMITS, &odd);
		ioctl(self->fd, KMSGPIPE_SET_LIMITS, NULL);
		peek_at(self->fd, 0, NULL, &size);
		size = SIZE;
		peek_at(self->fd, 0, self->data, &size);
		peek_at(self->fd, 0, NULL, &size);
		peek_at(self->fd, 7, self->data, &size);
		peek_at(write_only, 0, self->data, &size);
		ioctl(self->fd, KMSGPIPE_PEEK, &peek);
		ioctl(self->fd, KMSGPIPE_PEEK, NULL);
		ioctl(self->fd, _IO(KMSGPIPE_IOC_MAGIC, 99));
	}
	return 0;
}

SOLO(commands_cannot_flood_the_log,
     .says = "a user who makes commands without end does not flood the kernel log",
     .page = "lab4.md#log", .stages = FROM_STAGE(4), .as_root = true, .seconds = 10)
{
	int fd = device_open(O_RDWR), lines;

	device_send_numbers(fd, 0, 1);
	wait_returned(start_caller(fd, "4500 ioctl() by an ordinary user", flood), 0,
		      "all of them return");
	lines = log_lines_with("");
	expect(lines < 250, "15 kinds of ioctl() by an ordinary user, each 300 times",
	       "a few lines in the kernel log", "%d lines: they need a rate limit", lines);
}
