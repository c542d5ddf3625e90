// SPDX-License-Identifier: GPL-2.0
/*
 * No memory, and copies that fault, at every place where either can happen: each call then
 * says so, and leaves everything as it was. What memory such a call loses the harness finds,
 * at its end (leaks.c).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "inject.h"
#include "module.h"

#define LEN 100
#define CLASS	"/sys/class/" KMSGPIPE_NAME
#define FOLDER	CLASS "/" KMSGPIPE_NAME "0/"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Two messages are queued whenever a call is made; lab 1 keeps the first of these only. */
static char first[LEN + 1], second[LEN + 1], third[LEN + 1];
static char buffer[LEN];
static int fd;

/* Looks at the queue through a file of its own, whose position is 0 in lab 1. */
static void expect_messages(const char *const *texts, size_t count)
{
	int reader = device_open(O_RDONLY);

	for (size_t i = 0; i < count; i++)
		device_expect_text(reader, texts[i]);
	device_expect_empty(reader);
	close(reader);
}

static void fill(void)
{
	device_send_text(fd, first);
	if (stage_number > 1)
		device_send_text(fd, second);
}

/* The two messages are there and nothing else, and then again. */
static void expect_both(void)
{
	expect_messages((const char *const []){ first, second }, stage_number > 1 ? 2 : 1);
	fill();
}

/* Some call has had its effect: the one message is left, or none; then both are there again. */
static void expect_only(const char *text)
{
	expect_messages(&text, text ? 1 : 0);
	fill();
}

static void begin(void)
{
	memset(first, '1', LEN);
	memset(second, '2', LEN);
	memset(third, '3', LEN);
	fd = device_open(stage_number > 2 ? O_RDWR | O_NONBLOCK : O_RDWR);
	fill();
}

/* fail_each() of a call that has one allocation or copy at least: else it would test nothing. */
static void try_each(const char *doing, long (*call)(void),
		     void (*check)(const struct outcome *outcome))
{
	expect(fail_each(doing, call, check) > 0, doing, "it copies to or from user space",
	       "it neither copies nor allocates anything that the kernel could make fail");
}

/* For the report, should something that follows go wrong. */
static void note(const struct outcome *outcome)
{
	if (!outcome->last)
		test_note("Before that: %s. It returned %s.", outcome->did,
			  result(outcome->ret));
}

static void expect_length(const struct outcome *outcome)
{
	expect(outcome->ret == LEN, outcome->did, "-1, or all 100 bytes", "%ld", outcome->ret);
}

/* -- write() and read() ------------------------------------------------------------- */

static long call_write(void)
{
	return write(fd, third, LEN);
}

static long call_writev(void)
{
	struct iovec parts[] = { { third, 40 }, { third + 40, LEN - 40 } };

	return writev(fd, parts, COUNT(parts));
}

static void check_write(const struct outcome *outcome)
{
	note(outcome);
	if (outcome->failed) {
		expect_both();
		return;
	}
	expect_length(outcome);
	if (stage_number == 1)
		expect_only(third);
	else
		expect_messages((const char *const []){ first, second, third }, 3);
	if (stage_number > 1)
		fill();
}

SOLO(write_out_of_memory_changes_nothing,
     .says = "write() without memory, or with a fault, queues nothing and leaks nothing",
     .page = "lab1.md#faults", .stages = ALL_STAGES, .needs = FAULT_INJECTION, .as_root = true)
{
	begin();
	try_each("write() of 100 bytes", call_write, check_write);
}

SOLO(writev_out_of_memory_changes_nothing,
     .says = "writev() without memory, or with a fault in any part, queues nothing",
     .page = "capstone.md#vectors", .stages = FROM_STAGE(7), .needs = FAULT_INJECTION,
     .as_root = true)
{
	begin();
	try_each("writev() of 40 and 60 bytes", call_writev, check_write);
}

static long call_read(void)
{
	memset(buffer, 0, sizeof(buffer));
	return read(fd, buffer, sizeof(buffer));
}

static long call_readv(void)
{
	struct iovec parts[] = { { buffer, 40 }, { buffer + 40, LEN - 40 } };

	memset(buffer, 0, sizeof(buffer));
	return readv(fd, parts, COUNT(parts));
}

static void check_read(const struct outcome *outcome)
{
	note(outcome);
	if (outcome->failed) {
		/* Through the same file: in lab 1 its position must not have moved. */
		device_expect_text(fd, first);
	} else {
		expect_length(outcome);
		expect(!memcmp(buffer, first, LEN), outcome->did, first, "\"%.100s\"", buffer);
	}
	if (stage_number > 1) {
		expect_only(second);
		return;
	}
	device_expect_empty(fd);
	expect_value(lseek(fd, 0, SEEK_SET), 0);
}

SOLO(read_that_faults_loses_nothing,
     .says = "read() that cannot copy, wherever, loses no message and no byte",
     .page = "lab2.md#faults", .stages = ALL_STAGES, .needs = FAULT_INJECTION, .as_root = true)
{
	begin();
	try_each("read() of 100 bytes", call_read, check_read);
}

SOLO(readv_that_faults_loses_nothing,
     .says = "readv() that cannot copy into any of its parts loses no message",
     .page = "capstone.md#vectors", .stages = FROM_STAGE(7), .needs = FAULT_INJECTION,
     .as_root = true)
{
	begin();
	try_each("readv() of 40 and 60 bytes", call_readv, check_read);
}

/* -- open() ------------------------------------------------------------------------- */

static int references;

static long call_open(void)
{
	int other = open(KMSGPIPE_NODE, O_RDWR | O_CLOEXEC);

	if (other >= 0)
		close(other);
	return other;
}

static void check_open(const struct outcome *outcome)
{
	note(outcome);
	expect(module_references() == references, outcome->did,
	       "the module has as many users as before", "%d instead of %d: rmmod is refused",
	       module_references(), references);
	expect_both();
}

SOLO(open_out_of_memory_leaves_nothing,
     .says = "open() without memory leaves nothing behind, and rmmod possible",
     .page = "lab1.md#opening", .stages = ALL_STAGES, .needs = FAULT_INJECTION, .as_root = true)
{
	begin();
	references = module_references();
	try_each("open(\"" KMSGPIPE_NODE "\") and close()", call_open, check_open);
}

/* -- ioctl() ------------------------------------------------------------------------ */

static struct kmsgpipe_stats stats, stats_before;
static struct kmsgpipe_cleanup cleanup, cleanup_before;
static struct kmsgpipe_peek peek;

static struct kmsgpipe_cleanup cleanup_now(void)
{
	struct kmsgpipe_cleanup now = { 0 };

	if (stage_number > 4)
		expect_value(ioctl(fd, KMSGPIPE_GET_CLEANUP, &now), 0);
	return now;
}

/* What a failed call must not have changed is what this has seen. */
static void remember(void)
{
	stats_before = device_stats(fd);
	cleanup_before = cleanup_now();
}

/* Nothing has changed since: not the settings, not the counters, not the messages. */
static void expect_nothing_changed(const struct outcome *outcome)
{
	struct kmsgpipe_stats now = device_stats(fd);
	struct kmsgpipe_cleanup times = cleanup_now();

	expect(!memcmp(&now, &stats_before, sizeof(now)), outcome->did,
	       "KMSGPIPE_GET_STATS tells the same as before",
	       "%llu written, %llu read, %llu cleared, %u queued, max_msgs %u, msg_size %u",
	       (unsigned long long)now.written, (unsigned long long)now.read,
	       (unsigned long long)now.cleared, now.queued, now.max_msgs, now.msg_size);
	expect(!memcmp(&times, &cleanup_before, sizeof(times)), outcome->did,
	       "the times are the same as before", "interval_ms %u, ttl_ms %u", times.interval_ms,
	       times.ttl_ms);
	expect_both();
	remember();
}

static long call_get_stats(void)
{
	memset(&stats, 0, sizeof(stats));
	return ioctl(fd, KMSGPIPE_GET_STATS, &stats);
}

static void check_get_stats(const struct outcome *outcome)
{
	note(outcome);
	if (!outcome->failed)
		expect(!memcmp(&stats, &stats_before, sizeof(stats)), outcome->did,
		       "the same as before", "%u queued", stats.queued);
	expect_nothing_changed(outcome);
}

static long call_clear_queue(void)
{
	return ioctl(fd, KMSGPIPE_CLEAR_QUEUE);
}

static void check_clear_queue(const struct outcome *outcome)
{
	note(outcome);
	if (outcome->failed) {
		expect_nothing_changed(outcome);
		return;
	}
	expect(outcome->ret == 2, outcome->did, "2 messages are dropped", "%ld", outcome->ret);
	expect_only(NULL);
	remember();
}

#define NEW_MAX_MSGS	7
#define NEW_MSG_SIZE	(LEN + 1)

static long set_limits(unsigned int max_msgs, unsigned int msg_size)
{
	struct kmsgpipe_limits limits = { .max_msgs = max_msgs, .msg_size = msg_size };

	return ioctl(fd, KMSGPIPE_SET_LIMITS, &limits);
}

static long call_set_limits(void)
{
	return set_limits(NEW_MAX_MSGS, NEW_MSG_SIZE);
}

static void check_set_limits(const struct outcome *outcome)
{
	struct kmsgpipe_stats now = device_stats(fd);

	note(outcome);
	if (!outcome->failed) {
		expect(now.max_msgs == NEW_MAX_MSGS && now.msg_size == NEW_MSG_SIZE, outcome->did,
		       "both new limits hold", "max_msgs %u, msg_size %u", now.max_msgs,
		       now.msg_size);
		expect_value(set_limits(stats_before.max_msgs, stats_before.msg_size), 0);
	}
	expect_nothing_changed(outcome);
}

static long call_peek(void)
{
	memset(buffer, 0, sizeof(buffer));
	peek = (struct kmsgpipe_peek) {
		.index = 1, .size = sizeof(buffer), .buf = (uintptr_t)buffer
	};
	return ioctl(fd, KMSGPIPE_PEEK, &peek);
}

static void check_peek(const struct outcome *outcome)
{
	note(outcome);
	if (!outcome->failed)
		expect(peek.size == LEN && !memcmp(buffer, second, LEN), outcome->did, second,
		       "%u bytes: \"%.100s\"", peek.size, buffer);
	expect_nothing_changed(outcome);
}

static long call_get_cleanup(void)
{
	memset(&cleanup, 0, sizeof(cleanup));
	return ioctl(fd, KMSGPIPE_GET_CLEANUP, &cleanup);
}

static void check_get_cleanup(const struct outcome *outcome)
{
	note(outcome);
	if (!outcome->failed)
		expect(!memcmp(&cleanup, &cleanup_before, sizeof(cleanup)), outcome->did,
		       "the same as before", "interval_ms %u, ttl_ms %u", cleanup.interval_ms,
		       cleanup.ttl_ms);
	expect_nothing_changed(outcome);
}

#define NEW_MS	70000

static long call_set_cleanup(void)
{
	struct kmsgpipe_cleanup times = { .interval_ms = NEW_MS, .ttl_ms = NEW_MS };

	return ioctl(fd, KMSGPIPE_SET_CLEANUP, &times);
}

static void check_set_cleanup(const struct outcome *outcome)
{
	struct kmsgpipe_cleanup now = cleanup_now();

	note(outcome);
	if (!outcome->failed) {
		expect(now.interval_ms == NEW_MS && now.ttl_ms == NEW_MS, outcome->did,
		       "both new times hold", "interval_ms %u, ttl_ms %u", now.interval_ms,
		       now.ttl_ms);
		expect_value(ioctl(fd, KMSGPIPE_SET_CLEANUP, &cleanup_before), 0);
	}
	expect_nothing_changed(outcome);
}

SOLO(ioctl_out_of_memory_changes_nothing,
     .says = "each ioctl without memory, or with a fault, changes nothing and leaks nothing",
     .page = "lab4.md#user-pointers", .stages = FROM_STAGE(4), .needs = FAULT_INJECTION,
     .as_root = true, .seconds = 10)
{
	begin();
	remember();
	try_each("ioctl(KMSGPIPE_GET_STATS)", call_get_stats, check_get_stats);
	/* This one needs neither memory nor a copy. */
	fail_each("ioctl(KMSGPIPE_CLEAR_QUEUE)", call_clear_queue, check_clear_queue);
	try_each("ioctl(KMSGPIPE_SET_LIMITS)", call_set_limits, check_set_limits);
	try_each("ioctl(KMSGPIPE_PEEK)", call_peek, check_peek);
	if (stage_number > 4) {
		try_each("ioctl(KMSGPIPE_GET_CLEANUP)", call_get_cleanup, check_get_cleanup);
		try_each("ioctl(KMSGPIPE_SET_CLEANUP)", call_set_cleanup, check_set_cleanup);
	}
}

/* -- sysfs -------------------------------------------------------------------------- */

/* The file that the next call works on, what it writes, and what was in there before. */
static const char *file;
static char text[32], text_before[32];

static long use_file(int flags, char *data, size_t len)
{
	char path[96];
	int error, sysfs;
	ssize_t n;

	snprintf(path, sizeof(path), FOLDER "%s", file);
	sysfs = open(path, flags | O_CLOEXEC);
	if (sysfs < 0)
		return -1;
	n = flags == O_RDONLY ? read(sysfs, data, len) : write(sysfs, data, len);
	error = errno;
	close(sysfs);
	errno = error;
	return n;
}

static long call_show(void)
{
	memset(text, 0, sizeof(text));
	return use_file(O_RDONLY, text, sizeof(text) - 1);
}

static long call_store(void)
{
	return use_file(O_WRONLY, text, strlen(text));
}

static void expect_shows(const char *did, const char *wanted)
{
	char now[sizeof(text)] = "";
	long n = use_file(O_RDONLY, now, sizeof(now) - 1);

	expect(n > 0 && !strcmp(now, wanted), did, wanted, "%s", n < 0 ? result(n) : now);
}

static void check_show(const struct outcome *outcome)
{
	note(outcome);
	if (!outcome->failed)
		expect(!strcmp(text, text_before), outcome->did, text_before, "%s", text);
	expect_nothing_changed(outcome);
	/* Taking the messages out and queueing others has changed some counters. */
	expect(use_file(O_RDONLY, text_before, sizeof(text_before) - 1) > 0, outcome->did,
	       "the next read() works", "%s", result(-1));
}

static void check_store(const struct outcome *outcome)
{
	note(outcome);
	if (!outcome->failed) {
		expect(outcome->ret == (long)strlen(text), outcome->did, "all of it is taken",
		       "%ld", outcome->ret);
		expect_shows(outcome->did, text);
		expect(use_file(O_WRONLY, text_before, strlen(text_before)) > 0, file,
		       "the old value is taken", "%s", result(-1));
	}
	expect_shows(outcome->did, text_before);
	expect_nothing_changed(outcome);
}

static void check_clear_file(const struct outcome *outcome)
{
	note(outcome);
	if (outcome->failed) {
		expect_nothing_changed(outcome);
		return;
	}
	expect_only(NULL);
	remember();
}

SOLO(sysfs_out_of_memory_changes_nothing,
     .says = "each file in sysfs without memory, or with a fault, changes nothing",
     .page = "lab6.md#storing", .stages = FROM_STAGE(6), .needs = FAULT_INJECTION, .as_root = true,
     .seconds = 20)
{
	static const char *const counters[] = { "written", "read", "cleared", "expired", "queued" };
	static const char *const settings[] = {
		"max_msgs", "msg_size", "cleanup_interval_ms", "ttl_ms"
	};

	begin();
	remember();
	for (size_t i = 0; i < COUNT(counters); i++) {
		file = counters[i];
		expect(use_file(O_RDONLY, text_before, sizeof(text_before) - 1) > 0, file,
		       "a number", "%s", result(-1));
		try_each("read() of a counter's file in sysfs", call_show, check_show);
		memset(text_before, 0, sizeof(text_before));
	}
	for (size_t i = 0; i < COUNT(settings); i++) {
		file = settings[i];
		expect(use_file(O_RDONLY, text_before, sizeof(text_before) - 1) > 0, file,
		       "a number", "%s", result(-1));
		strcpy(text, "1234\n");
		try_each("write() to a setting's file in sysfs", call_store, check_store);
		memset(text_before, 0, sizeof(text_before));
	}
	file = "clear_queue";
	strcpy(text, "1\n");
	try_each("write() of 1 to clear_queue", call_store, check_clear_file);
}

/* -- loading ------------------------------------------------------------------------ */

#define LEFT_BEHIND "/dev/judge-left-behind"

static int numbers_before;
/* The device number; with nobody else asking for one, every load gets the same. */
static dev_t first_device;

/* Of two devices the first has to go again when the second one fails. */
static long call_load(void)
{
	return module_load(stage_number < 7 ? NULL : "nr_devices=2");
}

static void expect_gone(const struct outcome *outcome, const char *path)
{
	struct stat st;

	expect(stat(path, &st) && errno == ENOENT, outcome->did, "nothing is left behind",
	       "%s is there", path);
}

/* Without its node a character device cannot be seen, but it can be opened. */
static void expect_no_device(const struct outcome *outcome)
{
	int other;

	expect_value(mknod(LEFT_BEHIND, S_IFCHR | 0600, first_device), 0);
	other = open(LEFT_BEHIND, O_RDWR | O_CLOEXEC);
	unlink(LEFT_BEHIND);
	/* ENODEV: the misc devices share a number with a driver of the kernel's own. */
	expect(other < 0 && (errno == ENXIO || errno == ENODEV), outcome->did,
	       "the character device is gone: open() of a node that mknod made is -1 (ENXIO)",
	       "%s", result(other));
}

/* A load that fails is undone; one that does not gives a device that works. */
static void check_load(const struct outcome *outcome)
{
	note(outcome);
	if (!outcome->failed) {
		fd = device_open(O_RDWR);
		fill();
		expect_both();
		close(fd);
		expect_value(module_unload(), 0);
	}
	expect(!module_is_loaded(), outcome->did, "the module is not loaded", "it is");
	expect_gone(outcome, KMSGPIPE_NODE);
	expect_gone(outcome, CLASS);
	expect(device_numbers() == numbers_before, outcome->did,
	       "every device number is given back", "%d more in /proc/devices than before",
	       device_numbers() - numbers_before);
	expect_no_device(outcome);
}

SOLO(load_out_of_memory_leaves_nothing,
     .says = "a load without memory, at whatever step, leaves nothing behind",
     .page = "lab1.md#loading", .stages = ALL_STAGES, .needs = FAULT_INJECTION, .as_root = true,
     .loads_itself = true, .seconds = 60)
{
	struct stat st;

	numbers_before = device_numbers();
	/* The kernel keeps for the next time what it allocates for the first one. */
	expect_value(call_load(), 0);
	fail_in_module_only();
	begin();
	expect_value(fstat(fd, &st), 0);
	first_device = st.st_rdev;
	close(fd);
	expect_value(module_unload(), 0);
	try_each("insmod", call_load, check_load);
}
