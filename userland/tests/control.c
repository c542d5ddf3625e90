// SPDX-License-Identifier: GPL-2.0
/* The control path of lab 4 and later: statistics, limits, clearing, peeking. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "module.h"
#include "privilege.h"
#include "slow.h"

static int clear_queue(int fd)
{
	return ioctl(fd, KMSGPIPE_CLEAR_QUEUE);
}

static int set_limits(int fd, uint32_t max_msgs, uint32_t msg_size)
{
	struct kmsgpipe_limits limits = { .max_msgs = max_msgs, .msg_size = msg_size };

	return ioctl(fd, KMSGPIPE_SET_LIMITS, &limits);
}

/* PEEK into @buf; @size comes back as the length of the message. */
static int peek(int fd, uint32_t index, void *buf, uint32_t *size)
{
	struct kmsgpipe_peek request = { .index = index, .size = *size, .buf = (uintptr_t)buf };
	int ret = ioctl(fd, KMSGPIPE_PEEK, &request);

	*size = request.size;
	return ret;
}

static void expect_peek(int fd, uint32_t index, const char *text)
{
	char buf[KMSGPIPE_MSG_SIZE_MAX + 1] = "", did[64];
	uint32_t size = KMSGPIPE_MSG_SIZE_MAX;
	int ret = peek(fd, index, buf, &size);

	snprintf(did, sizeof(did), "PEEK at message %u", index);
	expect(!ret, did, text, "%s", result(ret));
	expect(size == strlen(text) && !strcmp(buf, text), did, text, "%u bytes: \"%s\"", size,
	       buf);
}

static void expect_counts(int fd, unsigned int written, unsigned int read, unsigned int cleared,
			  unsigned int queued)
{
	struct kmsgpipe_stats stats = device_stats(fd);
	char wanted[96];

	snprintf(wanted, sizeof(wanted), "written %u, read %u, cleared %u, queued %u, expired 0",
		 written, read, cleared, queued);
	expect(stats.written == written && stats.read == read && stats.cleared == cleared &&
	       stats.queued == queued && !stats.expired, "GET_STATS", wanted,
	       "written %llu, read %llu, cleared %llu, queued %u, expired %llu",
	       (unsigned long long)stats.written, (unsigned long long)stats.read,
	       (unsigned long long)stats.cleared, stats.queued, (unsigned long long)stats.expired);
}

static void expect_limits(int fd, uint32_t max_msgs, uint32_t msg_size)
{
	struct kmsgpipe_stats stats = device_stats(fd);
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "max_msgs %u, msg_size %u", max_msgs, msg_size);
	expect(stats.max_msgs == max_msgs && stats.msg_size == msg_size, "GET_STATS", wanted,
	       "max_msgs %u, msg_size %u", stats.max_msgs, stats.msg_size);
}

static void expect_sums(const struct kmsgpipe_stats *stats)
{
	expect(stats->written == stats->read + stats->cleared + stats->expired + stats->queued,
	       "GET_STATS", "written = read + cleared + expired + queued",
	       "%llu written, %llu read, %llu cleared, %llu expired, %u queued",
	       (unsigned long long)stats->written, (unsigned long long)stats->read,
	       (unsigned long long)stats->cleared, (unsigned long long)stats->expired,
	       stats->queued);
}

/* -- statistics --------------------------------------------------------------------- */

SOLO(stats_start_at_zero, .both_widths = true,
     .says = "after loading all counters are 0 and the limits are the parameters",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4), .params = "max_msgs=7 msg_size=99")
{
	int fd = device_open(O_RDWR);

	expect_counts(fd, 0, 0, 0, 0);
	expect_limits(fd, 7, 99);
}

SOLO(stats_count_what_happened, .both_widths = true,
     .says = "each message written, read and cleared is counted once",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 5);
	expect_counts(fd, 5, 0, 0, 5);
	device_expect_numbers(fd, 0, 2);
	expect_counts(fd, 5, 2, 0, 3);
	expect_value(clear_queue(fd), 3);
	expect_counts(fd, 5, 2, 3, 0);
	device_send_numbers(fd, 0, 1);
	expect_counts(fd, 6, 2, 3, 1);
}

SOLO(stats_count_no_failures, .both_widths = true,
     .says = "calls that fail change no counter", .page = "lab4.md#stats",
     .stages = FROM_STAGE(4), .params = "max_msgs=1 msg_size=8")
{
	char buf[16];
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_errno(read(fd, buf, sizeof(buf)), EAGAIN);
	expect_errno(write(fd, "nine byte", 9), EMSGSIZE);
	expect_errno(write(fd, NULL, 5), EFAULT);
	expect_value(write(fd, "", 0), 0);
	expect_counts(fd, 0, 0, 0, 0);
	device_send_text(fd, "only");
	expect_errno(write(fd, "more", 4), EAGAIN);
	expect_errno(read(fd, buf, 3), EMSGSIZE);
	expect_errno(read(fd, NULL, 16), EFAULT);
	expect_counts(fd, 1, 0, 0, 1);
}

SOLO(stats_are_for_anyone,
     .says = "an ordinary user may ask for statistics, with any open file",
     .page = "lab4.md#stats", .stages = FROM_STAGE(4))
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };

	for (size_t i = 0; i < 3; i++)
		device_stats(device_open(modes[i]));
}

/* Bytes that no driver writes by chance. */
#define POISON 0xa5

SOLO(stats_carry_no_stale_bytes, .both_widths = true,
     .says = "GET_STATS fills every byte, reserved ones with 0", .page = "lab4.md#snapshot",
     .stages = FROM_STAGE(4))
{
	struct {
		unsigned char before[16];
		struct kmsgpipe_stats stats;
		unsigned char behind[16];
	} all, poison;
	int fd = device_open(O_RDWR);

	memset(&poison, POISON, sizeof(poison));
	memset(&all, POISON, sizeof(all));
	device_send_text(fd, "one");
	/* A path that went deep has left its bytes on the kernel's stack. */
	expect_errno(open("/no/such/file/anywhere", O_RDONLY), ENOENT);
	expect_value(ioctl(fd, KMSGPIPE_GET_STATS, &all.stats), 0);
	expect(!all.stats.reserved, "GET_STATS", "reserved is 0", "%#x", all.stats.reserved);
	expect(all.stats.written == 1 && !all.stats.read && !all.stats.cleared &&
	       !all.stats.expired && all.stats.queued == 1, "GET_STATS into poisoned memory",
	       "1, 0, 0, 0, 1", "written %llx, read %llx, cleared %llx, expired %llx, queued %x",
	       (unsigned long long)all.stats.written, (unsigned long long)all.stats.read,
	       (unsigned long long)all.stats.cleared, (unsigned long long)all.stats.expired,
	       all.stats.queued);
	expect(!memcmp(all.before, poison.before, 16) && !memcmp(all.behind, poison.behind, 16),
	       "GET_STATS", "it writes to the struct only", "it writes beside it");
}

/* -- clearing ----------------------------------------------------------------------- */

SOLO(clear_drops_everything, .both_widths = true,
     .says = "CLEAR_QUEUE drops all messages and returns how many", .page = "lab4.md#clear",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);

	expect_value(clear_queue(fd), 0);
	device_send_numbers(fd, 0, 10);
	expect_value(clear_queue(fd), 10);
	device_expect_empty(fd);
	expect_value(clear_queue(fd), 0);
	device_send_numbers(fd, 20, 3);
	device_expect_numbers(fd, 20, 3);
}

SOLO(clear_frees_what_it_drops,
     .says = "what CLEAR_QUEUE drops is freed", .page = "lab4.md#clear",
     .stages = FROM_STAGE(4), .as_root = true, .seconds = 10)
{
	int fd = device_open(O_RDWR);
	long before = 0, growth;

	for (int round = 0; round < 45; round++) {
		if (round == 5)
			before = slab_objects();
		device_send_numbers(fd, 0, 40);
		expect_value(clear_queue(fd), 40);
	}
	growth = slab_growth(before);
	expect(growth < SLAB_NOISE, "1600 messages written and cleared", "every byte is freed",
	       "%ld more objects in use", growth);
}

TEST(clear_wakes_all_writers,
     .says = "CLEAR_QUEUE wakes the writers that waited for room", .page = "lab4.md#clear",
     .stages = FROM_STAGE(4), .as_root = true, .params = "max_msgs=3")
{
	int fd = device_open(O_RDWR);
	struct caller *writers[3];

	device_send_numbers(fd, 0, 3);
	for (int i = 0; i < 3; i++)
		writers[i] = start_writer(fd, "late");
	for (int i = 0; i < 3; i++)
		wait_asleep(writers[i]);
	expect_value(clear_queue(fd), 3);
	for (int i = 0; i < 3; i++)
		wait_returned(writers[i], 4, "the cleared queue has room for it");
	expect_counts(fd, 6, 0, 3, 3);
}

TEST(clear_makes_poll_say_out,
     .says = "CLEAR_QUEUE wakes a process asleep in poll() for room", .page = "lab4.md#clear",
     .stages = FROM_STAGE(4), .as_root = true, .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);
	struct caller *poller;

	device_send_text(fd, "full");
	poller = start_poller(fd, POLLOUT);
	wait_asleep(poller);
	expect_value(clear_queue(fd), 1);
	wait_returned(poller, POLLOUT, "there is room again");
}

TEST(clear_leaves_readers_asleep,
     .says = "a reader sleeps on through CLEAR_QUEUE and gets the next message",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *reader = start_reader(fd, 64);

	wait_asleep(reader);
	expect_value(clear_queue(fd), 0);
	expect(!reader->done, "CLEAR_QUEUE of an empty queue", "the reader sleeps on",
	       "it returned %ld", reader->ret);
	device_send_text(fd, "next");
	wait_returned(reader, 4, "a message came");
}

TEST(message_being_read_is_not_cleared,
     .says = "CLEAR_QUEUE leaves the message that a reader is copying to that reader",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow;

	device_send_numbers(fd, 0, 3);
	slow = start_slow_reader(fd, KMSGPIPE_MSG_SIZE);
	wait_asleep(slow);
	expect_value(clear_queue(fd), 2);
	expect_counts(fd, 3, 0, 2, 1);
	device_send_numbers(fd, 3, 1);
	let_go();
	wait_returned(slow, 9, "it gets the whole message");
	expect(!memcmp(slow->data, "message 0", 9), slow->doing, "\"message 0\"", "\"%.9s\"",
	       slow->data);
	device_expect_numbers(fd, 3, 1);
	expect_counts(fd, 4, 2, 2, 0);
}

TEST(cleared_around_a_reader_that_fails,
     .says = "if that reader then fails, its message is still there",
     .page = "lab4.md#clear", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow;

	device_send_numbers(fd, 0, 2);
	slow = start_slow_reader(fd, KMSGPIPE_MSG_SIZE);
	wait_asleep(slow);
	expect_value(clear_queue(fd), 1);
	/* Killed in the copy: it fails, and nothing was taken. */
	kill_and_reap(slow);
	expect_counts(fd, 2, 0, 1, 1);
	device_expect_numbers(fd, 0, 1);
	device_expect_empty(fd);
	device_send_numbers(fd, 2, 2);
	expect_value(clear_queue(fd), 2);
	expect_counts(fd, 4, 1, 3, 0);
}

/* -- limits ------------------------------------------------------------------------- */

SOLO(limits_take_effect, .both_widths = true,
     .says = "SET_LIMITS changes both limits at once", .page = "lab4.md#limits",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_value(set_limits(fd, 2, 5), 0);
	expect_limits(fd, 2, 5);
	expect_errno(write(fd, "123456", 6), EMSGSIZE);
	expect_value(write(fd, "12345", 5), 5);
	expect_value(write(fd, "12345", 5), 5);
	expect_errno(write(fd, "12345", 5), EAGAIN);
}

SOLO(limits_at_their_edges, .both_widths = true,
     .says = "1 and the maximum are good limits, 0 and maximum + 1 get EINVAL",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	static const struct kmsgpipe_limits refused[] = {
		{ .max_msgs = 0, .msg_size = 20 },
		{ .max_msgs = 20, .msg_size = 0 },
		{ .max_msgs = KMSGPIPE_MAX_MSGS_MAX + 1, .msg_size = 20 },
		{ .max_msgs = 20, .msg_size = KMSGPIPE_MSG_SIZE_MAX + 1 },
		{ .max_msgs = UINT32_MAX, .msg_size = 20 },
		{ .max_msgs = 20, .msg_size = UINT32_MAX },
		{ .max_msgs = 20, .msg_size = 1u << 31 },
	};
	int fd = device_open(O_RDWR);

	expect_value(set_limits(fd, 1, 1), 0);
	expect_limits(fd, 1, 1);
	expect_value(set_limits(fd, KMSGPIPE_MAX_MSGS_MAX, KMSGPIPE_MSG_SIZE_MAX), 0);
	expect_limits(fd, KMSGPIPE_MAX_MSGS_MAX, KMSGPIPE_MSG_SIZE_MAX);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char did[64];
		int ret = set_limits(fd, refused[i].max_msgs, refused[i].msg_size);

		snprintf(did, sizeof(did), "SET_LIMITS max_msgs=%u msg_size=%u",
			 refused[i].max_msgs, refused[i].msg_size);
		expect(ret == -1 && errno == EINVAL, did, "-1 (EINVAL)", "%s", result(ret));
		expect_limits(fd, KMSGPIPE_MAX_MSGS_MAX, KMSGPIPE_MSG_SIZE_MAX);
	}
}

SOLO(reserved_fields_have_to_be_zero, .both_widths = true,
     .says = "a reserved field that is not 0 gets EINVAL and changes nothing",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	struct kmsgpipe_limits limits = { .max_msgs = 3, .msg_size = 3 };
	char buf[16];
	struct kmsgpipe_peek request = { .size = 16, .buf = (uintptr_t)buf, .reserved = 1 };
	int fd = device_open(O_RDWR);

	for (int i = 0; i < 2; i++) {
		limits.reserved[i] = 1u << (i * 31);
		expect_errno(ioctl(fd, KMSGPIPE_SET_LIMITS, &limits), EINVAL);
		limits.reserved[i] = 0;
	}
	expect_limits(fd, KMSGPIPE_MAX_MSGS, KMSGPIPE_MSG_SIZE);
	device_send_text(fd, "text");
	expect_errno(ioctl(fd, KMSGPIPE_PEEK, &request), EINVAL);
	request.reserved = 1ULL << 63;
	expect_errno(ioctl(fd, KMSGPIPE_PEEK, &request), EINVAL);
}

SOLO(lower_limits_lose_nothing, .both_widths = true,
     .says = "limits below what is queued: nothing is lost, nothing more is taken",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_numbers(fd, 0, 5);
	expect_value(set_limits(fd, 2, 4), 0);
	expect_counts(fd, 5, 0, 0, 5);
	expect(!device_is_ready(fd, POLLOUT), "poll() of a queue beyond its limit", "no POLLOUT",
	       "POLLOUT");
	for (int i = 0; i < 3; i++) {
		expect_errno(write(fd, "no", 2), EAGAIN);
		expect_peek(fd, 0, (char[]){ 'm', 'e', 's', 's', 'a', 'g', 'e', ' ', '0' + i, 0 });
		device_expect_numbers(fd, i, 1);
	}
	/* Two are left, and two is the limit. */
	expect_errno(write(fd, "no", 2), EAGAIN);
	device_expect_numbers(fd, 3, 1);
	expect_value(write(fd, "yes", 3), 3);
	device_expect_numbers(fd, 4, 1);
	device_expect_text(fd, "yes");
}

TEST(writers_wait_for_lowered_limit,
     .says = "after a lowered limit a writer sleeps until there is really room",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *writer;

	device_send_numbers(fd, 0, 4);
	expect_value(set_limits(fd, 2, 64), 0);
	writer = start_writer(fd, "patient");
	wait_asleep(writer);
	for (int i = 0; i < 2; i++) {
		device_expect_numbers(fd, i, 1);
		/* Woken by the read, it has to find that this was not enough. */
		wait_asleep(writer);
	}
	device_expect_numbers(fd, 2, 1);
	wait_returned(writer, 7, "fewer are queued than max_msgs allows");
	device_expect_numbers(fd, 3, 1);
	device_expect_text(fd, "patient");
}

TEST(raised_limit_wakes_all_writers,
     .says = "a raised max_msgs wakes every writer that now has room",
     .page = "lab4.md#limits", .stages = FROM_STAGE(4), .as_root = true, .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR);
	struct caller *writers[3], *poller;

	device_send_text(fd, "full");
	for (int i = 0; i < 3; i++)
		writers[i] = start_writer(fd, "more");
	poller = start_poller(fd, POLLOUT);
	for (int i = 0; i < 3; i++)
		wait_asleep(writers[i]);
	wait_asleep(poller);
	expect_value(set_limits(fd, 5, 64), 0);
	for (int i = 0; i < 3; i++)
		wait_returned(writers[i], 4, "the raised limit leaves room for it");
	wait_returned(poller, POLLOUT, "the raised limit leaves room");
	expect_counts(fd, 4, 0, 0, 4);
}

/* -- peeking ------------------------------------------------------------------------ */

SOLO(peek_shows_and_leaves, .both_widths = true,
     .says = "PEEK shows any message and takes none", .page = "lab4.md#peek",
     .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);

	device_send_text(fd, "first");
	device_send_text(fd, "the second");
	device_send_text(fd, "last");
	expect_peek(fd, 2, "last");
	expect_peek(fd, 0, "first");
	expect_peek(fd, 1, "the second");
	expect_peek(fd, 0, "first");
	expect_counts(fd, 3, 0, 0, 3);
	device_expect_text(fd, "first");
	expect_peek(fd, 0, "the second");
	device_expect_text(fd, "the second");
	device_expect_text(fd, "last");
}

SOLO(peek_beyond_the_queue, .both_widths = true,
     .says = "PEEK at a message that is not there gets ENOENT and never sleeps",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	char buf[16];
	uint32_t size = sizeof(buf);
	int fd = device_open(O_RDWR);

	expect_errno(peek(fd, 0, buf, &size), ENOENT);
	device_send_numbers(fd, 0, 2);
	expect_errno(peek(fd, 2, buf, &size), ENOENT);
	expect_errno(peek(fd, 3, buf, &size), ENOENT);
	expect_errno(peek(fd, UINT32_MAX, buf, &size), ENOENT);
	expect_value(peek(fd, 1, buf, &size), 0);
}

SOLO(peek_into_too_small_a_buffer, .both_widths = true,
     .says = "PEEK with too small a buffer gets EMSGSIZE and tells the length",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	char buf[16] = "untouched";
	uint32_t size;
	int fd = device_open(O_RDWR);

	device_send_text(fd, "twelve bytes");
	for (uint32_t room = 0; room < 12; room += 11) {
		size = room;
		expect_errno(peek(fd, 0, buf, &size), EMSGSIZE);
		expect_value(size, 12);
		expect(!strcmp(buf, "untouched"), "PEEK into too small a buffer",
		       "the buffer as it was", "\"%.16s\"", buf);
	}
	size = 0;
	expect_errno(peek(fd, 0, NULL, &size), EMSGSIZE);
	expect_value(size, 12);
	expect_value(peek(fd, 0, buf, &size), 0);
}

SOLO(peek_writes_no_byte_too_many, .both_widths = true,
     .says = "PEEK writes the message and nothing behind it", .page = "lab4.md#peek",
     .stages = FROM_STAGE(4))
{
	unsigned char buf[KMSGPIPE_MSG_SIZE_MAX];
	uint32_t size = sizeof(buf);
	int fd = device_open(O_RDWR);

	device_send_text(fd, "a longer message, which is read and freed");
	device_expect_text(fd, "a longer message, which is read and freed");
	device_send_text(fd, "short");
	memset(buf, POISON, sizeof(buf));
	expect_value(peek(fd, 0, buf, &size), 0);
	expect_value(size, 5);
	for (size_t i = 5; i < sizeof(buf); i++)
		expect(buf[i] == POISON, "PEEK at 5 bytes", "only 5 bytes are written",
		       "byte %zu is, too", i);
}

SOLO(peek_needs_a_file_for_reading,
     .says = "PEEK with a file that is open for writing only gets EBADF",
     .page = "lab4.md#peek", .stages = FROM_STAGE(4))
{
	char buf[16];
	uint32_t size = sizeof(buf);
	int fd = device_open(O_WRONLY);

	device_send_text(fd, "not for you");
	expect_errno(peek(fd, 0, buf, &size), EBADF);
}

TEST(peek_at_a_message_being_read,
     .says = "PEEK sees the message that a slow reader is copying", .page = "lab4.md#peek",
     .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow;

	device_send_numbers(fd, 0, 2);
	slow = start_slow_reader(fd, KMSGPIPE_MSG_SIZE);
	wait_asleep(slow);
	expect_peek(fd, 0, "message 0");
	expect_peek(fd, 1, "message 1");
	let_go();
	wait_returned(slow, 9, "it ends when its page has come");
	expect_peek(fd, 0, "message 1");
}

/* -- privilege ---------------------------------------------------------------------- */

static long call_clear(struct caller *self)
{
	return clear_queue(self->fd);
}

static long call_limits(struct caller *self)
{
	return set_limits(self->fd, 3, 3);
}

static enum who asker;
static long (*asked)(struct caller *self);

static long call_as(struct caller *self)
{
	become(asker);
	return asked(self);
}

/* Makes the call as @who with a file that root has opened; -1 with errno if it is refused. */
static int ask_as(enum who who, int fd, long (*call)(struct caller *self))
{
	struct caller *caller;

	asker = who;
	asked = call;
	caller = start_caller(fd, who_says(who), call_as);
	wait_done(caller, "a command never sleeps");
	errno = caller->error;
	return caller->ret;
}

static const enum who without[] = { WHO_USER, WHO_WEAK_ROOT, WHO_NAMESPACE_ROOT };

SOLO(clear_takes_the_capability,
     .says = "CLEAR_QUEUE without CAP_SYS_ADMIN gets EPERM, root or not",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR), ret;

	device_send_numbers(fd, 0, 2);
	for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
		ret = ask_as(without[i], fd, call_clear);
		expect(ret == -1 && errno == EPERM, who_says(without[i]), "-1 (EPERM)", "%s",
		       result(ret));
		expect_counts(fd, 2, 0, 0, 2);
	}
	ret = ask_as(WHO_ADMIN_USER, fd, call_clear);
	expect(ret == 2, who_says(WHO_ADMIN_USER), "2 messages dropped", "%s", result(ret));
}

SOLO(limits_take_the_capability,
     .says = "SET_LIMITS without CAP_SYS_ADMIN gets EPERM, root or not",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR), ret;

	for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
		ret = ask_as(without[i], fd, call_limits);
		expect(ret == -1 && errno == EPERM, who_says(without[i]), "-1 (EPERM)", "%s",
		       result(ret));
		expect_limits(fd, KMSGPIPE_MAX_MSGS, KMSGPIPE_MSG_SIZE);
	}
	ret = ask_as(WHO_ADMIN_USER, fd, call_limits);
	expect(!ret, who_says(WHO_ADMIN_USER), "0", "%s", result(ret));
	expect_limits(fd, 3, 3);
}

SOLO(ordinary_user_may_not_control,
     .says = "an ordinary user's own file clears nothing and sets nothing",
     .page = "lab4.md#privilege", .stages = FROM_STAGE(4))
{
	int fd = device_open(O_RDWR);

	device_send_text(fd, "stays");
	expect_errno(clear_queue(fd), EPERM);
	expect_errno(set_limits(fd, 1, 1), EPERM);
	expect_limits(fd, KMSGPIPE_MAX_MSGS, KMSGPIPE_MSG_SIZE);
	device_expect_text(fd, "stays");
}

/* -- user pointers ------------------------------------------------------------------ */

static const struct {
	const char *name;
	unsigned long number;
	bool fills;	/* the driver writes to the struct */
} with_struct[] = {
	{ "GET_STATS", KMSGPIPE_GET_STATS, true },
	{ "SET_LIMITS", KMSGPIPE_SET_LIMITS, false },
	{ "PEEK", KMSGPIPE_PEEK, true },
};

SOLO(bad_struct_pointers_get_efault, .both_widths = true,
     .says = "a command whose struct cannot be reached gets EFAULT and changes nothing",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4), .as_root = true)
{
	int fd = device_open(O_RDWR), ret;

	device_send_text(fd, "stays");
	for (size_t i = 0; i < sizeof(with_struct) / sizeof(with_struct[0]); i++) {
		size_t size = _IOC_SIZE(with_struct[i].number);
		void *const bad[] = {
			NULL, (void *)(UINTPTR_MAX - 4095), partly_bad_buffer(size, 0, true),
			partly_bad_buffer(size, 1, true), partly_bad_buffer(size, size - 1, true),
		};

		for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
			ret = ioctl(fd, with_struct[i].number, bad[k]);
			expect(ret == -1 && errno == EFAULT, with_struct[i].name, "-1 (EFAULT)",
			       "%s for bad pointer number %zu", result(ret), k + 1);
		}
	}
	expect_limits(fd, KMSGPIPE_MAX_MSGS, KMSGPIPE_MSG_SIZE);
	expect_counts(fd, 1, 0, 0, 1);
	device_expect_text(fd, "stays");
}

SOLO(read_only_structs_get_efault, .both_widths = true,
     .says = "an answer into read-only memory gets EFAULT", .page = "lab4.md#user-pointers",
     .stages = FROM_STAGE(4))
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = device_open(O_RDWR);

	expect(page != MAP_FAILED, "mmap()", "memory", "%s", result(-1));
	expect_errno(ioctl(fd, KMSGPIPE_GET_STATS, page), EFAULT);
	device_send_text(fd, "x");
	/* All zero: message 0 into no room, so the length has to be written back. */
	expect_errno(ioctl(fd, KMSGPIPE_PEEK, page), EFAULT);
}

SOLO(peek_into_a_bad_buffer, .both_widths = true,
     .says = "PEEK into a bad buffer gets EFAULT and loses nothing",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4))
{
	static const size_t good[] = { 0, 1, 5 };
	uint32_t size;
	int fd = device_open(O_RDWR);

	device_send_text(fd, "six by");
	for (size_t i = 0; i < 3; i++) {
		size = 6;
		expect_errno(peek(fd, 0, partly_bad_buffer(6, good[i], true), &size), EFAULT);
	}
	size = 6;
	expect_errno(peek(fd, 0, NULL, &size), EFAULT);
	expect_peek(fd, 0, "six by");
	device_expect_text(fd, "six by");
}

/* -- unknown numbers ---------------------------------------------------------------- */

SOLO(unknown_commands_get_enotty, .both_widths = true,
     .says = "a number that is no command gets ENOTTY and changes nothing",
     .page = "lab4.md#unknown", .stages = FROM_STAGE(4), .as_root = true)
{
	static const unsigned long unknown[] = {
		0, _IO(KMSGPIPE_IOC_MAGIC, 0), _IO(KMSGPIPE_IOC_MAGIC, 99),
		/* The right number, but another size, direction or magic. */
		_IOC(_IOC_READ, KMSGPIPE_IOC_MAGIC, 1, sizeof(struct kmsgpipe_stats) - 8),
		_IO(KMSGPIPE_IOC_MAGIC, 1), _IOW(KMSGPIPE_IOC_MAGIC, 2, __u32),
		_IOR(KMSGPIPE_IOC_MAGIC, 3, struct kmsgpipe_limits), _IO('k', 2),
	};
	char argument[64] = "";
	int fd = device_open(O_RDWR);

	device_send_text(fd, "stays");
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		int ret = ioctl(fd, unknown[i], argument);
		char did[32];

		snprintf(did, sizeof(did), "ioctl(%#lx)", unknown[i]);
		expect(ret == -1 && errno == ENOTTY, did, "-1 (ENOTTY)", "%s", result(ret));
	}
	expect_counts(fd, 1, 0, 0, 1);
	expect_limits(fd, KMSGPIPE_MAX_MSGS, KMSGPIPE_MSG_SIZE);
}

/* -- the log ------------------------------------------------------------------------ */

/* Lines of the module in the log so far. */
static int log_lines(void)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "%s:", module_name);
	return log_lines_with(prefix);
}

SOLO(every_command_is_logged,
     .says = "each command leaves a line in the kernel log, also one that is refused",
     .page = "lab4.md#log", .stages = FROM_STAGE(4), .as_root = true)
{
	struct kmsgpipe_stats stats;
	uint32_t size = 16;
	char buf[16];
	int fd = device_open(O_RDWR), before;

#define EXPECT_LOGGED(call)						\
	do {								\
		before = log_lines();					\
		(void)(call);						\
		expect(log_lines() > before, #call, "a line in the log", "none");	\
	} while (0)

	EXPECT_LOGGED(ioctl(fd, KMSGPIPE_GET_STATS, &stats));
	EXPECT_LOGGED(clear_queue(fd));
	EXPECT_LOGGED(set_limits(fd, 5, 5));
	EXPECT_LOGGED(set_limits(fd, 0, 5));
	EXPECT_LOGGED(peek(fd, 0, buf, &size));
	EXPECT_LOGGED(ioctl(fd, _IO(KMSGPIPE_IOC_MAGIC, 99)));
	EXPECT_LOGGED(ask_as(WHO_USER, fd, call_clear));
}

SOLO(nobody_can_flood_the_log,
     .says = "an ordinary user who repeats commands cannot fill the log",
     .page = "lab4.md#log", .stages = FROM_STAGE(4))
{
	struct kmsgpipe_stats stats;
	uint32_t size;
	char buf[16];
	int fd = device_open(O_RDWR);

	for (int i = 0; i < 300; i++) {
		size = 16;
		ioctl(fd, KMSGPIPE_GET_STATS, &stats);
		clear_queue(fd);
		set_limits(fd, 0, 0);
		peek(fd, i, buf, &size);
		ioctl(fd, _IO(KMSGPIPE_IOC_MAGIC, 99));
	}
	expect(log_lines() < 300, "1500 commands of an ordinary user", "a few lines in the log",
	       "%d lines", log_lines());
}

/* -- under load --------------------------------------------------------------------- */

#define ROUNDS 300

static long call_write_many(struct caller *self)
{
	for (int i = 0; i < ROUNDS; i++)
		if (write(self->fd, "load", 4) != 4)
			return -1;
	return ROUNDS;
}

static long call_read_all(struct caller *self)
{
	char buf[16];
	long count = 0;

	/* Until killed: nobody knows how many the clearing leaves for it. */
	while (read(self->fd, buf, sizeof(buf)) == 4)
		count++;
	return count;
}

static long call_clear_often(struct caller *self)
{
	long count = 0;

	for (int i = 0; i < ROUNDS / 10; i++)
		count += clear_queue(self->fd);
	return count;
}

TEST(counters_always_add_up,
     .says = "written = read + cleared + expired + queued at every moment",
     .page = "lab4.md#snapshot", .stages = FROM_STAGE(4), .as_root = true,
     .params = "max_msgs=4", .seconds = 15)
{
	int fd = device_open(O_RDWR);
	struct caller *writers[2], *reader, *clearer;
	struct kmsgpipe_stats stats;

	reader = start_caller(fd, "read() again and again", call_read_all);
	for (int i = 0; i < 2; i++)
		writers[i] = start_caller(fd, "write() again and again", call_write_many);
	clearer = start_caller(fd, "CLEAR_QUEUE again and again", call_clear_often);
	do {
		stats = device_stats(fd);
		expect_sums(&stats);
	} while (!writers[0]->done || !writers[1]->done || !clearer->done);
	for (int i = 0; i < 2; i++)
		wait_returned(writers[i], ROUNDS, "every write() gets in");
	wait_asleep(reader);
	stats = device_stats(fd);
	expect_sums(&stats);
	expect_value(stats.written, 2 * ROUNDS);
	expect_value(stats.cleared, clearer->ret);
	expect_value(stats.queued, 0);
	kill_and_reap(reader);
}
