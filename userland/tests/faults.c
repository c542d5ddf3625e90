// SPDX-License-Identifier: GPL-2.0
/* Bad user pointers and leaked memory: what goes wrong half-way must leave no trace. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "module.h"

#define LEN 100

/* How many bytes of the buffer can be touched: faults at the first, in the middle, at the last. */
static const size_t good_bytes[] = { 0, 1, LEN / 2, LEN - 1 };
#define CASES (sizeof(good_bytes) / sizeof(good_bytes[0]))

/* Pointers that are bad as a whole. The kernel's own addresses among them. */
static void *const bad_pointers[] = { NULL, (void *)16, (void *)(UINTPTR_MAX - 4095) };
#define POINTERS (sizeof(bad_pointers) / sizeof(bad_pointers[0]))

static void expect_fault(ssize_t n, const char *call, size_t good)
{
	char did[96];

	snprintf(did, sizeof(did), "%s of %d bytes, of which only %zu can be touched", call, LEN,
		 good);
	expect(n == -1 && errno == EFAULT, did, "-1 (EFAULT)", "%s", result(n));
}

SOLO(write_fault_changes_nothing,
     .says = "write() from a bad pointer gets EFAULT and changes nothing", .page = "lab1.md#faults",
     .stages = ALL_STAGES)
{
	int fd = device_open(O_RDWR);

	device_send_text(fd, "before");
	for (size_t i = 0; i < CASES; i++)
		expect_fault(write(fd, partly_bad_buffer(LEN, good_bytes[i], true), LEN), "write()",
			     good_bytes[i]);
	for (size_t i = 0; i < POINTERS; i++)
		expect_fault(write(fd, bad_pointers[i], LEN), "write()", 0);
	if (stage_number > 1)
		device_send_text(fd, "after");
	fd = device_open(O_RDONLY);
	device_expect_text(fd, "before");
	if (stage_number > 1)
		device_expect_text(fd, "after");
	device_expect_empty(fd);
}

SOLO(read_fault_loses_nothing,
     .says = "read() into a bad pointer gets EFAULT and loses nothing", .page = "lab2.md#faults",
     .stages = ALL_STAGES)
{
	char text[LEN + 1] = "";
	int fd = device_open(O_RDONLY), writer = device_open(O_WRONLY);

	memset(text, 'm', LEN);
	device_send_text(writer, text);
	if (stage_number > 1)
		device_send_text(writer, "second");
	for (size_t i = 0; i < CASES; i++)
		expect_fault(read(fd, partly_bad_buffer(LEN, good_bytes[i], true), LEN), "read()",
			     good_bytes[i]);
	for (size_t i = 0; i < POINTERS; i++)
		expect_fault(read(fd, bad_pointers[i], LEN), "read()", 0);
	expect_fault(read(fd, partly_bad_buffer(LEN, LEN, false), LEN),
		     "read() into read-only memory", 0);
	device_expect_text(fd, text);
	if (stage_number > 1)
		device_expect_text(fd, "second");
	device_expect_empty(fd);
}

SOLO(faults_on_a_full_queue_keep_it,
     .says = "faults on a full queue keep its messages and their order", .page = "lab2.md#faults",
     .stages = FROM_STAGE(2), .params = "max_msgs=3")
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_numbers(fd, 0, 3);
	for (int i = 0; i < 3; i++) {
		expect_errno(read(fd, partly_bad_buffer(LEN, 3, true), LEN), EFAULT);
		device_expect_numbers(fd, i, 1);
		device_send_numbers(fd, i + 3, 1);
	}
	device_expect_numbers(fd, 3, 3);
	device_expect_empty(fd);
}

#define ROUNDS 1500

static void expect_no_growth(void (*work)(int round), const char *did)
{
	long growth = slab_growth(work, 1, rounds(ROUNDS));

	expect(growth < SLAB_NOISE, did, "every byte is freed again",
	       "%ld more objects in the kernel's slab caches than before", growth);
}

/* The file that the rounds work on, and a pointer that is no good. */
static int round_fd;
static void *bad;

static void write_and_read(int round)
{
	char buf[16];

	(void)round;
	expect_value(write(round_fd, "0123456789", 10), 10);
	expect_value(read(round_fd, buf, sizeof(buf)), 10);
}

static void write_to_full(int round)
{
	(void)round;
	if (stage_number == 2)
		expect_errno(write(round_fd, "x", 1), ENOSPC);
	else
		expect_errno(write(round_fd, "x", 1), EAGAIN);
}

static void write_what_is_bad(int round)
{
	(void)round;
	expect_errno(write(round_fd, bad, LEN), EFAULT);
}

SOLO(reading_frees_the_message,
     .says = "a message that was read is freed", .page = "lab2.md#memory",
     .stages = FROM_STAGE(2), .as_root = true)
{
	round_fd = device_open(O_RDWR);
	expect_no_growth(write_and_read, "write(), read(), many times");
}

SOLO(failed_writes_free_the_message,
     .says = "a write() that fails frees what it allocated", .page = "lab2.md#memory",
     .stages = FROM_STAGE(2), .params = "max_msgs=1", .as_root = true)
{
	bad = partly_bad_buffer(LEN, 50, true);
	round_fd = device_open(O_RDWR | O_NONBLOCK);
	device_send_text(round_fd, "full");
	expect_no_growth(write_to_full, "write() to a full queue, many times");
	device_expect_text(round_fd, "full");
	expect_no_growth(write_what_is_bad, "write() from a bad pointer, many times");
	device_expect_empty(round_fd);
}
