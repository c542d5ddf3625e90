// SPDX-License-Identifier: GPL-2.0
/* What the capstone adds to lab 6: several devices, vectors of buffers, tracepoints. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "module.h"

#define TRACING "/sys/kernel/tracing/"
#define EVENTS	TRACING "events/kmsgpipe/"

static int open_device(unsigned int index, int flags)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/" KMSGPIPE_NAME "%u", index);
	fd = open(path, flags | O_CLOEXEC);
	expect(fd >= 0, path, "a file descriptor", "%s", result(fd));
	return fd;
}

/* -- several devices ---------------------------------------------------------------- */

SOLO(one_device_by_default, .says = "without nr_devices there is one device",
     .page = "capstone.md#devices", .stages = FROM_STAGE(7))
{
	struct stat st;

	close(open_device(0, O_RDWR));
	expect_errno(stat("/dev/kmsgpipe1", &st), ENOENT);
	expect_errno(stat("/sys/class/kmsgpipe/kmsgpipe1", &st), ENOENT);
}

SOLO(nr_devices_makes_so_many,
     .says = "nr_devices=3 makes three nodes, each with its files in sysfs",
     .page = "capstone.md#devices", .stages = FROM_STAGE(7), .params = "nr_devices=3")
{
	struct stat st;
	char path[64];

	for (unsigned int i = 0; i < 3; i++) {
		close(open_device(i, O_RDWR));
		snprintf(path, sizeof(path), "/sys/class/kmsgpipe/kmsgpipe%u/queued", i);
		expect(!stat(path, &st), path, "a file", "%s", result(-1));
	}
	expect_errno(stat("/dev/kmsgpipe3", &st), ENOENT);
}

SOLO(nr_devices_is_checked,
     .says = "nr_devices=0 and 17 are refused, 16 is not", .page = "capstone.md#devices",
     .stages = FROM_STAGE(7), .loads_itself = true, .as_root = true)
{
	static const char *const refused[] = { "nr_devices=0", "nr_devices=17",
					       "nr_devices=4294967295" };

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		int ret = module_load(refused[i]);

		expect(ret == -1 && errno == EINVAL, refused[i], "-1 (EINVAL)", "%s", result(ret));
	}
	expect(log_lines_with("nr_devices") >= 3, "insmod with nr_devices out of range",
	       "a line in the log names it each time", "%d lines do",
	       log_lines_with("nr_devices"));
	expect_value(module_load("nr_devices=16"), 0);
	close(open_device(15, O_RDWR));
	expect_value(module_unload(), 0);
}

SOLO(devices_share_no_queue,
     .says = "a message in one device is not in another", .page = "capstone.md#devices",
     .stages = FROM_STAGE(7), .params = "nr_devices=2 max_msgs=2")
{
	int a = open_device(0, O_RDWR | O_NONBLOCK), b = open_device(1, O_RDWR | O_NONBLOCK);

	device_send_text(a, "for a");
	device_expect_empty(b);
	device_send_text(b, "for b");
	device_send_text(b, "b is full");
	expect_errno(write(b, "no more", 7), EAGAIN);
	device_send_text(a, "a is not");
	device_expect_text(a, "for a");
	device_expect_text(b, "for b");
	expect_value(device_stats(a).read, 1);
	expect_value(device_stats(a).written, 2);
	expect_value(device_stats(b).queued, 1);
}

SOLO(devices_share_no_settings,
     .says = "limits, expiry and CLEAR of one device leave the others alone",
     .page = "capstone.md#devices", .stages = FROM_STAGE(7), .as_root = true,
     .params = "nr_devices=2")
{
	struct kmsgpipe_limits limits = { .max_msgs = 1, .msg_size = 5 };
	struct kmsgpipe_cleanup off = { 0 }, cleanup;
	int a = open_device(0, O_RDWR | O_NONBLOCK), b = open_device(1, O_RDWR | O_NONBLOCK);

	device_send_text(b, "message 0");
	expect_value(ioctl(a, KMSGPIPE_SET_LIMITS, &limits), 0);
	expect_value(ioctl(a, KMSGPIPE_SET_CLEANUP, &off), 0);
	expect_value(ioctl(a, KMSGPIPE_CLEAR_QUEUE), 0);
	expect_value(device_stats(b).max_msgs, KMSGPIPE_MAX_MSGS);
	expect_value(device_stats(b).msg_size, KMSGPIPE_MSG_SIZE);
	expect_value(ioctl(b, KMSGPIPE_GET_CLEANUP, &cleanup), 0);
	expect_value(cleanup.ttl_ms, KMSGPIPE_TTL_MS);
	expect_value(cleanup.interval_ms, KMSGPIPE_INTERVAL_MS);
	device_expect_text(b, "message 0");
}

static void expect_file(unsigned int index, const char *name, const char *value)
{
	char path[64], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/class/kmsgpipe/kmsgpipe%u/%s", index, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	expect(fd >= 0, path, "a file", "%s", result(fd));
	expect(read(fd, text, sizeof(text) - 1) > 0, path, "a value", "%s", result(-1));
	close(fd);
	text[strcspn(text, "\n")] = '\0';
	expect(!strcmp(text, value), path, value, "%s", text);
}

SOLO(devices_have_files_of_their_own,
     .says = "the files of each device in sysfs tell of that device", .page = "capstone.md#devices",
     .stages = FROM_STAGE(7), .as_root = true, .params = "nr_devices=3")
{
	struct kmsgpipe_limits limits = { .max_msgs = 7, .msg_size = 70 };
	int fd = open_device(1, O_RDWR | O_NONBLOCK);

	expect_value(ioctl(fd, KMSGPIPE_SET_LIMITS, &limits), 0);
	device_send_text(fd, "one");
	expect_file(1, "max_msgs", "7");
	expect_file(1, "queued", "1");
	for (unsigned int i = 0; i < 3; i += 2) {
		expect_file(i, "max_msgs", "64");
		expect_file(i, "queued", "0");
	}
}

SOLO(every_device_expires_its_own,
     .says = "messages expire in every device", .page = "capstone.md#devices",
     .stages = FROM_STAGE(7), .params = "nr_devices=3 ttl_ms=1 cleanup_interval_ms=10")
{
	for (unsigned int i = 0; i < 3; i++) {
		int fd = open_device(i, O_RDWR | O_NONBLOCK);

		device_send_text(fd, "nobody reads this");
		wait_expired(fd, 1);
		expect_value(device_stats(fd).expired, 1);
	}
}

SOLO(devices_share_no_sleepers,
     .says = "a message in one device wakes no reader of another", .page = "capstone.md#devices",
     .stages = FROM_STAGE(7), .params = "nr_devices=2")
{
	int a = open_device(0, O_RDWR), b = open_device(1, O_RDWR);
	struct caller *of_a = start_reader(a, 64), *of_b = start_reader(b, 64);

	wait_asleep(of_a);
	wait_asleep(of_b);
	device_send_text(b, "for b");
	wait_returned(of_b, 5, "the message for its device wakes it");
	expect(is_asleep(of_a), "write() to the other device", "this reader sleeps on",
	       "it returned %ld", of_a->ret);
	device_send_text(a, "for aa");
	wait_returned(of_a, 6, "the message for its device wakes it");
}

SOLO(one_open_device_holds_the_module,
     .says = "rmmod is refused while any of the devices is open", .page = "capstone.md#lifetime",
     .stages = FROM_STAGE(7), .as_root = true, .params = "nr_devices=4")
{
	int fd = open_device(3, O_RDWR), ret = module_unload();

	expect(ret == -1 && (errno == EBUSY || errno == EWOULDBLOCK), "rmmod, kmsgpipe3 is open",
	       "-1 (EBUSY)", "%s", result(ret));
	device_send_text(fd, "works on");
	device_expect_text(fd, "works on");
}

static void load_use_unload(int round)
{
	(void)round;
	expect_value(module_load("nr_devices=8"), 0);
	for (unsigned int i = 0; i < 8; i++) {
		int fd = open_device(i, O_RDWR | O_NONBLOCK);

		device_send_numbers(fd, 0, 5);
		close(fd);
	}
	expect_value(module_unload(), 0);
}

SOLO(every_device_is_freed,
     .says = "rmmod frees all devices with all that is queued in them",
     .page = "capstone.md#lifetime", .stages = FROM_STAGE(7), .loads_itself = true,
     .as_root = true, .seconds = 20)
{
	long growth = slab_growth(load_use_unload, 5, rounds(40));

	expect(growth < SLAB_NOISE, "load, 8 devices with 5 messages each, unload, many times",
	       "no more objects in use than before", "%ld more", growth);
}

/* -- vectors of buffers ------------------------------------------------------------- */

SOLO(one_writev_is_one_message,
     .says = "one writev() is one message, whatever its buffers", .page = "capstone.md#vectors",
     .stages = FROM_STAGE(7))
{
	struct iovec parts[] = { { "one ", 4 }, { "", 0 }, { "mess", 4 }, { "age", 3 } };
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_value(writev(fd, parts, 4), 11);
	expect_value(writev(fd, parts, 1), 4);
	device_expect_text(fd, "one message");
	device_expect_text(fd, "one ");
	device_expect_empty(fd);
}

SOLO(one_readv_takes_one_message,
     .says = "one readv() takes one message into its buffers, one after the other",
     .page = "capstone.md#vectors", .stages = FROM_STAGE(7))
{
	char a[4] = "", b[20] = "";
	struct iovec parts[] = { { a, 3 }, { b, 19 } };
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_text(fd, "first of two");
	device_send_text(fd, "second");
	expect_value(readv(fd, parts, 2), 12);
	expect(!strcmp(a, "fir") && !strcmp(b, "st of two"), "readv() into 3 and 19 bytes",
	       "fir, st of two", "\"%s\", \"%s\"", a, b);
	device_expect_text(fd, "second");
}

SOLO(writev_is_measured_as_a_whole,
     .says = "writev() of more than msg_size in all gets EMSGSIZE, nothing is queued",
     .page = "capstone.md#vectors", .stages = FROM_STAGE(7), .params = "msg_size=10")
{
	struct iovec parts[] = { { "123456", 6 }, { "78901", 5 } };
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_errno(writev(fd, parts, 2), EMSGSIZE);
	device_expect_empty(fd);
	parts[1].iov_len = 4;
	expect_value(writev(fd, parts, 2), 10);
	device_expect_text(fd, "1234567890");
}

SOLO(readv_too_short_in_all,
     .says = "readv() with too little room in all gets EMSGSIZE; the message stays first",
     .page = "capstone.md#vectors", .stages = FROM_STAGE(7))
{
	char a[4], b[4];
	struct iovec parts[] = { { a, 4 }, { b, 4 } };
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_text(fd, "nine byte");
	expect_errno(readv(fd, parts, 2), EMSGSIZE);
	device_expect_text(fd, "nine byte");
}

SOLO(fault_in_a_later_buffer,
     .says = "a bad second buffer: EFAULT, nothing queued, nothing lost",
     .page = "capstone.md#vectors", .stages = FROM_STAGE(7))
{
	char good[8] = "good";
	struct iovec parts[] = { { good, 4 }, { partly_bad_buffer(8, 2, true), 8 } };
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_errno(writev(fd, parts, 2), EFAULT);
	device_expect_empty(fd);
	device_send_text(fd, "twelve bytes");
	device_send_text(fd, "next");
	expect_errno(readv(fd, parts, 2), EFAULT);
	device_expect_text(fd, "twelve bytes");
	device_expect_text(fd, "next");
}

/* -- tracepoints -------------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	expect(fd >= 0, path, "a file of tracefs to write to", "%s", result(fd));
	expect(write(fd, text, strlen(text)) == (ssize_t)strlen(text), path, "it takes the text",
	       "%s", result(-1));
	close(fd);
}

/* All of the trace buffer. */
static const char *trace(void)
{
	static char text[65536];
	int fd = open(TRACING "trace", O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	expect(fd >= 0, TRACING "trace", "a file of tracefs", "%s", result(fd));
	while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += n;
	text[len] = '\0';
	close(fd);
	return text;
}

/* How many events of this name say all of @what. */
static int events(const char *name, const char *what)
{
	char line_name[64];
	int count = 0;

	snprintf(line_name, sizeof(line_name), "kmsgpipe_%s: ", name);
	for (const char *at = trace(); (at = strstr(at, line_name)); at++) {
		const char *found = strstr(at, what), *end = strchr(at, '\n');

		count += found && (!end || found < end);
	}
	return count;
}

static void expect_event(const char *name, const char *what)
{
	/* The event of who sleeps comes a moment before the sleep, that of the work at any time. */
	while (!events(name, what) && wait_a_moment())
		;
	expect(events(name, what) == 1, name, "one event of this tracepoint", "%d with \"%s\"",
	       events(name, what), what);
}

SOLO(tracepoints_tell_a_message_s_life,
     .says = "the trace shows enqueue, dequeue, sleep, wake and expiry",
     .page = "capstone.md#tracepoints", .stages = FROM_STAGE(7), .as_root = true,
     .params = "nr_devices=2 cleanup_interval_ms=0")
{
	struct kmsgpipe_cleanup soon = { .interval_ms = 10, .ttl_ms = 1 };
	int fd = open_device(1, O_RDWR);
	struct caller *reader;

	write_text(TRACING "trace", "");
	write_text(EVENTS "enable", "1");
	reader = start_reader(fd, 64);
	wait_asleep(reader);
	expect_event("sleep", "kmsgpipe1 reader");
	device_send_text(fd, "12345");
	wait_returned(reader, 5, "the message wakes it");
	expect_event("enqueue", "kmsgpipe1 len=5 depth=1");
	expect_event("wake", "kmsgpipe1 reader ret=0");
	expect_event("dequeue", "kmsgpipe1 len=5 depth=0 waited_us=");

	device_send_text(fd, "nobody reads this");
	expect_value(ioctl(fd, KMSGPIPE_SET_CLEANUP, &soon), 0);
	expect_event("expire", "kmsgpipe1 count=1 depth=0");
	write_text(EVENTS "enable", "0");
}

SOLO(tracepoints_show_no_message,
     .says = "the trace shows how long a message is, not what it says",
     .page = "capstone.md#tracepoints", .stages = FROM_STAGE(7), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	write_text(TRACING "trace", "");
	write_text(EVENTS "enable", "1");
	device_send_text(fd, "a very secret text");
	device_expect_text(fd, "a very secret text");
	write_text(EVENTS "enable", "0");
	expect(events("dequeue", "len=18"), "read() while its event is enabled", "an event",
	       "none");
	expect(!strstr(trace(), "secret"), "the trace of a message", "its length only", "its text");
}

/* -- memory that waits for the next message ------------------------------------------- */

static void rush(int round)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	(void)round;
	device_send_numbers(fd, 0, 2000);
	device_expect_numbers(fd, 0, 2000);
	close(fd);
}

SOLO(memory_of_a_rush_goes_back,
     .says = "memory of messages that were read is given back when no writer needs it",
     .page = "capstone.md#recycling", .stages = FROM_STAGE(7), .as_root = true,
     .params = "max_msgs=2000 cleanup_interval_ms=10", .seconds = 20)
{
	long growth = slab_growth(rush, 0, 1);

	expect(growth < SLAB_NOISE, "2000 messages written and read, then some cleanups",
	       "no more objects in use than before", "%ld more", growth);
}

static void expect_bounded_reserve(int fd, int count, size_t size)
{
	static char data[KMSGPIPE_MSG_SIZE_MAX];
	/* A message has 32 bytes besides its own, if not more. */
	long before = slab_objects(), most = 262144 / (32 + size) + SLAB_NOISE, growth;

	for (int i = 0; i < count; i++)
		device_send(fd, data, size);
	for (int i = 0; i < count; i++)
		expect_value(read(fd, data, sizeof(data)), size);
	growth = slab_objects() - before;
	expect(growth < most, "thousands of messages written and read, no cleanup",
	       "256 KiB of memory and no more are kept", "%ld objects more than before", growth);
}

SOLO(memory_that_waits_is_bounded,
     .says = "no more than 256 KiB wait for the next message, however many were read",
     .page = "capstone.md#recycling", .stages = FROM_STAGE(7), .as_root = true,
     .params = "max_msgs=10000 msg_size=4096 cleanup_interval_ms=0", .seconds = 20)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	/* First the longest, of which 63 are kept: a tenth of the short ones is too few to tell. */
	expect_bounded_reserve(fd, 1000, KMSGPIPE_MSG_SIZE_MAX);
	expect_bounded_reserve(fd, rounds(10000), 1);
}

SOLO(recycled_memory_shows_no_old_message, .both_widths = true,
     .says = "a short message after a long one: no byte of the long one comes with it",
     .page = "capstone.md#recycling", .stages = FROM_STAGE(7))
{
	struct kmsgpipe_peek peek = { 0 };
	char data[KMSGPIPE_MSG_SIZE], old[KMSGPIPE_MSG_SIZE];
	int fd = device_open(O_RDWR | O_NONBLOCK);

	memset(old, 'S', sizeof(old));
	for (int i = 0; i < 3; i++) {
		device_send(fd, old, sizeof(old));
		expect_value(read(fd, data, sizeof(data)), sizeof(old));
	}
	memset(data, 0, sizeof(data));
	device_send_text(fd, "short");
	peek.size = sizeof(data);
	peek.buf = (uintptr_t)data;
	expect_value(ioctl(fd, KMSGPIPE_PEEK, &peek), 0);
	expect_value(peek.size, 5);
	expect(!strcmp(data, "short"), "KMSGPIPE_PEEK at it", "\"short\"", "\"%.10s\"", data);
	expect_value(read(fd, data, sizeof(data)), 5);
	expect(!strcmp(data, "short"), "read() of it", "\"short\"", "\"%.10s\"", data);
}

SOLO(recycled_memory_is_large_enough,
     .says = "a long message after short ones comes whole",
     .page = "capstone.md#recycling", .stages = FROM_STAGE(7))
{
	char sent[KMSGPIPE_MSG_SIZE], data[KMSGPIPE_MSG_SIZE];
	int fd = device_open(O_RDWR | O_NONBLOCK);

	for (unsigned int len = 1; len <= sizeof(sent); len++) {
		memset(sent, 'a' + len % 26, len);
		device_send(fd, sent, len);
		expect_value(read(fd, data, sizeof(data)), len);
		expect(!memcmp(sent, data, len), "read() of one byte more than the last time",
		       "what was written", "other bytes");
	}
}

/* -- batches ------------------------------------------------------------------------- */

#define ROOM 64

struct batch {
	struct kmsgpipe_batch args;
	struct kmsgpipe_entry entries[8];
	char data[8][ROOM];
};

/* A batch of @count entries with a buffer each; texts to send go into @data and size. */
static struct batch *batch_of(unsigned int count)
{
	struct batch *batch = shared_memory(sizeof(*batch));

	batch->args.size = sizeof(batch->args);
	batch->args.count = count;
	batch->args.entries = (uintptr_t)batch->entries;
	for (unsigned int i = 0; i < count; i++) {
		batch->entries[i].buf = (uintptr_t)batch->data[i];
		batch->entries[i].size = ROOM;
	}
	return batch;
}

static struct batch *batch_of_numbers(unsigned int first, unsigned int count)
{
	struct batch *batch = batch_of(count);

	for (unsigned int i = 0; i < count; i++)
		batch->entries[i].size = snprintf(batch->data[i], ROOM, "message %u", first + i);
	return batch;
}

static void expect_received(const struct batch *batch, unsigned int first, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		char wanted[ROOM];
		size_t len = snprintf(wanted, ROOM, "message %u", first + i);

		expect(batch->entries[i].size == len && !memcmp(batch->data[i], wanted, len),
		       "an entry after KMSGPIPE_RECV_BATCH", wanted, "%u bytes, \"%.*s\"",
		       batch->entries[i].size, ROOM, batch->data[i]);
	}
}

SOLO(a_batch_is_sent_in_its_order, .both_widths = true,
     .says = "KMSGPIPE_SEND_BATCH queues each entry as a message, in order",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_value(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch_of_numbers(0, 5)->args), 5);
	expect_value(device_stats(fd).written, 5);
	device_expect_numbers(fd, 0, 5);
	device_expect_empty(fd);
}

SOLO(a_batch_is_received_in_order, .both_widths = true,
     .says = "KMSGPIPE_RECV_BATCH takes one message an entry, and tells the length of each",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	int fd = device_open(O_RDWR | O_NONBLOCK);
	struct batch *batch = batch_of(5);

	device_send_numbers(fd, 8, 7);
	expect_value(ioctl(fd, KMSGPIPE_RECV_BATCH, &batch->args), 5);
	expect_received(batch, 8, 5);
	expect_value(device_stats(fd).read, 5);
	device_expect_numbers(fd, 13, 2);
}

SOLO(a_batch_stops_where_it_would_wait, .both_widths = true,
     .says = "a batch ends without sleeping once some of it is done",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7), .params = "max_msgs=3")
{
	int fd = device_open(O_RDWR);
	struct batch *batch = batch_of(5);

	/* Without O_NONBLOCK: with some done it does not sleep all the same. */
	expect_value(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch_of_numbers(0, 5)->args), 3);
	expect_value(ioctl(fd, KMSGPIPE_RECV_BATCH, &batch->args), 3);
	expect_received(batch, 0, 3);
}

SOLO(a_batch_may_have_to_come_back, .both_widths = true,
     .says = "with O_NONBLOCK a batch of which nothing can be done gets EAGAIN",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7), .params = "max_msgs=2")
{
	int fd = device_open(O_RDWR | O_NONBLOCK);
	struct batch *batch = batch_of(5);

	expect_errno(ioctl(fd, KMSGPIPE_RECV_BATCH, &batch->args), EAGAIN);
	device_send_numbers(fd, 0, 2);
	expect_errno(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch_of_numbers(5, 3)->args), EAGAIN);
	device_expect_numbers(fd, 0, 2);
	device_expect_empty(fd);
}

static struct batch *callers_batch;

static long send_batch(struct caller *self)
{
	return ioctl(self->fd, KMSGPIPE_SEND_BATCH, &callers_batch->args);
}

static long receive_batch(struct caller *self)
{
	return ioctl(self->fd, KMSGPIPE_RECV_BATCH, &callers_batch->args);
}

TEST(an_empty_queue_puts_a_batch_to_sleep,
     .says = "KMSGPIPE_RECV_BATCH sleeps for its first message, and takes what is there then",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	int fd = device_open(O_RDWR);
	struct caller *reader;

	callers_batch = batch_of(3);
	reader = start_sleeper(fd, "ioctl(KMSGPIPE_RECV_BATCH) of an empty queue", receive_batch);
	wait_asleep(reader);
	device_send_text(fd, "message 7");
	wait_returned(reader, 1, "the message wakes it, and there is no other");
	expect_received(callers_batch, 7, 1);
}

TEST(a_full_queue_puts_a_batch_to_sleep,
     .says = "KMSGPIPE_SEND_BATCH sleeps for its first message, and queues what there is room for",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7), .params = "max_msgs=2")
{
	int fd = device_open(O_RDWR);
	struct caller *writer;

	device_send_numbers(fd, 0, 2);
	callers_batch = batch_of_numbers(2, 3);
	writer = start_sleeper(fd, "ioctl(KMSGPIPE_SEND_BATCH) to a full queue", send_batch);
	wait_asleep(writer);
	device_expect_numbers(fd, 0, 1);
	wait_returned(writer, 1, "the message that was read leaves room for one");
	device_expect_numbers(fd, 1, 2);
}

TEST(a_batch_wakes_a_reader_for_each_message,
     .says = "KMSGPIPE_SEND_BATCH of three messages wakes three readers",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	int fd = device_open(O_RDWR);
	struct caller *readers[3];

	for (int i = 0; i < 3; i++) {
		readers[i] = start_reader(fd, ROOM);
		wait_asleep(readers[i]);
	}
	expect_value(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch_of_numbers(0, 3)->args), 3);
	for (int i = 0; i < 3; i++)
		wait_returned(readers[i], 9, "one of the three messages wakes it");
}

SOLO(a_fault_in_a_batch_loses_nothing, .both_widths = true,
     .says = "a bad buffer in a batch: what comes before it is done, nothing is lost",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	int fd = device_open(O_RDWR | O_NONBLOCK);
	struct batch *batch = batch_of_numbers(0, 3);

	batch->entries[1].buf = (uintptr_t)partly_bad_buffer(9, 4, true);
	expect_value(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch->args), 1);
	batch->args.entries += sizeof(batch->entries[0]);
	expect_errno(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch->args), EFAULT);
	device_expect_numbers(fd, 0, 1);
	device_expect_empty(fd);

	device_send_numbers(fd, 0, 3);
	batch = batch_of(3);
	batch->entries[1].buf = (uintptr_t)partly_bad_buffer(ROOM, 4, true);
	expect_value(ioctl(fd, KMSGPIPE_RECV_BATCH, &batch->args), 1);
	expect_received(batch, 0, 1);
	batch->args.entries += sizeof(batch->entries[0]);
	expect_errno(ioctl(fd, KMSGPIPE_RECV_BATCH, &batch->args), EFAULT);
	device_expect_numbers(fd, 1, 2);
}

SOLO(a_length_that_cannot_be_told_loses_nothing, .both_widths = true,
     .says = "KMSGPIPE_RECV_BATCH into entries that are read-only gets EFAULT, nothing is lost",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	int fd = device_open(O_RDWR | O_NONBLOCK);
	struct batch *batch = batch_of(1);
	struct kmsgpipe_entry *entry = partly_bad_buffer(sizeof(*entry), sizeof(*entry), true);
	void *page = (void *)((uintptr_t)entry & ~4095ul);

	*entry = batch->entries[0];
	expect_value(mprotect(page, 4096, PROT_READ), 0);
	batch->args.entries = (uintptr_t)entry;
	device_send_numbers(fd, 0, 2);
	expect_errno(ioctl(fd, KMSGPIPE_RECV_BATCH, &batch->args), EFAULT);
	expect_value(device_stats(fd).read, 0);
	device_expect_numbers(fd, 0, 2);
}

SOLO(a_batch_checks_each_size, .both_widths = true,
     .says = "a message too long, or longer than its entry, ends a batch with EMSGSIZE",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7), .params = "msg_size=9")
{
	int fd = device_open(O_RDWR | O_NONBLOCK);
	struct batch *batch = batch_of_numbers(9, 2);

	/* "message 9" is as long as may be, "message 10" is longer. */
	expect_value(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch->args), 1);
	batch->args.entries += sizeof(batch->entries[0]);
	expect_errno(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch->args), EMSGSIZE);
	batch->entries[1].size = 0;
	expect_errno(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch->args), EINVAL);

	batch = batch_of(1);
	batch->entries[0].size = 8;
	expect_errno(ioctl(fd, KMSGPIPE_RECV_BATCH, &batch->args), EMSGSIZE);
	device_expect_numbers(fd, 9, 1);
	device_expect_empty(fd);
}

SOLO(a_batch_is_checked, .both_widths = true,
     .says = "a batch with a bad size, count, pointer or reserved field is refused",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	static const unsigned long commands[] = { KMSGPIPE_SEND_BATCH, KMSGPIPE_RECV_BATCH };
	int fd = device_open(O_RDWR | O_NONBLOCK);
	struct kmsgpipe_batch *cut;
	struct batch *batch;

	device_send_numbers(fd, 0, 1);
	for (int i = 0; i < 2; i++) {
		expect_errno(ioctl(fd, commands[i], NULL), EFAULT);
		batch = batch_of_numbers(1, 1);
		cut = partly_bad_buffer(sizeof(*cut), sizeof(*cut) - 8, true);
		memcpy(cut, &batch->args, sizeof(*cut) - 8);
		expect_errno(ioctl(fd, commands[i], cut), EFAULT);
		batch->args.size = sizeof(batch->args) - 1;
		expect_errno(ioctl(fd, commands[i], &batch->args), EINVAL);
		batch->args.size = 1 << 20;
		expect_errno(ioctl(fd, commands[i], &batch->args), EINVAL);
		batch->args.size = sizeof(batch->args);
		batch->args.count = 0;
		expect_errno(ioctl(fd, commands[i], &batch->args), EINVAL);
		batch->args.count = KMSGPIPE_BATCH_MAX + 1;
		expect_errno(ioctl(fd, commands[i], &batch->args), EINVAL);
		batch->args.count = 1;
		batch->args.reserved = 1;
		expect_errno(ioctl(fd, commands[i], &batch->args), EINVAL);
		batch->args.reserved = 0;
		batch->args.entries = 8;
		expect_errno(ioctl(fd, commands[i], &batch->args), EFAULT);
		batch->args.entries = (uintptr_t)batch->entries;
		batch->entries[0].reserved = 1;
		expect_errno(ioctl(fd, commands[i], &batch->args), EINVAL);
	}
	device_expect_numbers(fd, 0, 1);
	device_expect_empty(fd);
}

SOLO(a_batch_of_a_later_version, .both_widths = true,
     .says = "a longer struct kmsgpipe_batch: taken if the rest is 0, else E2BIG, or EFAULT",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	struct {
		struct kmsgpipe_batch args;
		uint64_t more;
	} later = { 0 };
	struct kmsgpipe_batch *cut;
	int fd = device_open(O_RDWR | O_NONBLOCK);

	later.args = batch_of_numbers(0, 1)->args;
	later.args.size = sizeof(later);
	expect_value(ioctl(fd, KMSGPIPE_SEND_BATCH, &later), 1);
	later.more = 1;
	expect_errno(ioctl(fd, KMSGPIPE_SEND_BATCH, &later), E2BIG);
	expect_errno(ioctl(fd, KMSGPIPE_RECV_BATCH, &later), E2BIG);
	/* The part that we know is there, and nobody can tell whether the rest is 0. */
	cut = partly_bad_buffer(sizeof(later), sizeof(*cut), true);
	*cut = later.args;
	expect_errno(ioctl(fd, KMSGPIPE_SEND_BATCH, cut), EFAULT);
	expect_errno(ioctl(fd, KMSGPIPE_RECV_BATCH, cut), EFAULT);
	device_expect_numbers(fd, 0, 1);
	device_expect_empty(fd);
}

SOLO(a_batch_needs_a_file_of_its_direction, .both_widths = true,
     .says = "a batch is sent to a file that is open for writing, received from one for reading",
     .page = "capstone.md#batches", .stages = FROM_STAGE(7))
{
	int reader = device_open(O_RDONLY | O_NONBLOCK);
	int writer = device_open(O_WRONLY | O_NONBLOCK);
	struct batch *batch = batch_of_numbers(0, 1);

	expect_errno(ioctl(reader, KMSGPIPE_SEND_BATCH, &batch->args), EBADF);
	expect_value(ioctl(writer, KMSGPIPE_SEND_BATCH, &batch->args), 1);
	expect_errno(ioctl(writer, KMSGPIPE_RECV_BATCH, &batch_of(1)->args), EBADF);
	expect_value(ioctl(reader, KMSGPIPE_RECV_BATCH, &batch_of(1)->args), 1);
}

SOLO(batches_are_of_the_capstone,
     .says = "no lab knows KMSGPIPE_SEND_BATCH and KMSGPIPE_RECV_BATCH: ENOTTY",
     .page = "lab4.md#unknown", .stages = STAGE(4) | STAGE(5) | STAGE(6))
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	expect_errno(ioctl(fd, KMSGPIPE_SEND_BATCH, &batch_of_numbers(0, 1)->args), ENOTTY);
	expect_errno(ioctl(fd, KMSGPIPE_RECV_BATCH, &batch_of(1)->args), ENOTTY);
	device_expect_empty(fd);
}
