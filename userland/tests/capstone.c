// SPDX-License-Identifier: GPL-2.0
/* What the capstone adds to lab 6: several devices, vectors of buffers, tracepoints. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
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

SOLO(every_device_is_freed,
     .says = "rmmod frees all devices with all that is queued in them",
     .page = "capstone.md#lifetime", .stages = FROM_STAGE(7), .loads_itself = true,
     .as_root = true, .seconds = 20)
{
	long before = 0, growth;

	/* The first rounds fill caches that stay. */
	for (int round = 0; round < 40; round++) {
		if (round == 5)
			before = slab_objects();
		expect_value(module_load("nr_devices=8"), 0);
		for (unsigned int i = 0; i < 8; i++) {
			int fd = open_device(i, O_RDWR | O_NONBLOCK);

			device_send_numbers(fd, 0, 5);
			close(fd);
		}
		expect_value(module_unload(), 0);
	}
	growth = slab_growth(before);
	expect(growth < SLAB_NOISE, "35 loads, 8 devices with 5 messages each, 35 unloads",
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
