// SPDX-License-Identifier: GPL-2.0
/* The queue of lab 2 and later: order, boundaries, limits. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"

SOLO(first_in_first_out,
     .says = "messages come out in the order in which they went in", .page = "lab2.md#fifo",
     .stages = FROM_STAGE(2), .both_widths = true)
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 10);
	device_expect_numbers(fd, 0, 5);
	device_send_numbers(fd, 10, 5);
	device_expect_numbers(fd, 5, 10);
	device_expect_empty(fd);
}

SOLO(one_read_takes_one_message,
     .says = "one read() takes one message, however large its buffer", .page = "lab2.md#fifo",
     .stages = FROM_STAGE(2))
{
	int fd = device_open(O_RDWR);

	device_send_text(fd, "a");
	device_send_text(fd, "bb");
	device_send_text(fd, "ccc");
	device_expect_text(fd, "a");
	device_expect_text(fd, "bb");
	device_expect_text(fd, "ccc");
	device_expect_empty(fd);
}

SOLO(all_files_share_one_queue,
     .says = "every open file sees the same queue", .page = "lab2.md#fifo", .stages = FROM_STAGE(2))
{
	int first = device_open(O_RDWR), second = device_open(O_RDWR);

	device_send_text(first, "from the first");
	device_send_text(second, "from the second");
	device_expect_text(second, "from the first");
	device_expect_text(first, "from the second");
	device_expect_empty(first);
}

SOLO(short_buffer_is_refused,
     .says = "too small a buffer gets EMSGSIZE; the message stays first",
     .page = "lab2.md#short-buffers", .stages = FROM_STAGE(2))
{
	char buf[32];
	int fd = device_open(O_RDWR);

	device_send_text(fd, "twelve bytes");
	device_send_text(fd, "next");
	expect_errno(read(fd, buf, 1), EMSGSIZE);
	expect_errno(read(fd, buf, 11), EMSGSIZE);
	expect_value(read(fd, buf, 12), 12);
	device_expect_text(fd, "next");
	device_expect_empty(fd);
}

static void expect_full(int fd)
{
	ssize_t n = write(fd, "one too many", 12);

	if (stage_number == 2)
		expect(n == -1 && errno == ENOSPC, "write() to a full queue", "-1 (ENOSPC)", "%s",
		       result(n));
	else
		expect(n == -1 && errno == EAGAIN, "write() with O_NONBLOCK to a full queue",
		       "-1 (EAGAIN)", "%s", result(n));
}

SOLO(full_queue_takes_no_more,
     .says = "a full queue takes no more until one is read", .page = "lab2.md#full",
     .stages = FROM_STAGE(2), .params = "max_msgs=3")
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_numbers(fd, 0, 3);
	expect_full(fd);
	expect_full(fd);
	device_expect_numbers(fd, 0, 1);
	device_send_numbers(fd, 3, 1);
	expect_full(fd);
	device_expect_numbers(fd, 1, 3);
	device_expect_empty(fd);
}

SOLO(queue_of_one_works,
     .says = "with max_msgs=1 the queue holds exactly one", .page = "lab2.md#full",
     .stages = FROM_STAGE(2), .params = "max_msgs=1")
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	for (int i = 0; i < 5; i++) {
		device_expect_empty(fd);
		device_send_numbers(fd, i, 1);
		expect_full(fd);
		device_expect_numbers(fd, i, 1);
	}
}

SOLO(messages_have_no_position,
     .says = "lseek(), pread() and pwrite() get ESPIPE", .page = "lab2.md#no-position",
     .stages = FROM_STAGE(2))
{
	char buf[16];
	int fd = device_open(O_RDWR);

	device_send_text(fd, "here");
	expect_errno(lseek(fd, 0, SEEK_SET), ESPIPE);
	expect_errno(lseek(fd, 0, SEEK_CUR), ESPIPE);
	expect_errno(pread(fd, buf, sizeof(buf), 0), ESPIPE);
	expect_errno(pwrite(fd, "x", 1, 0), ESPIPE);
	device_expect_text(fd, "here");
	device_expect_empty(fd);
}
