// SPDX-License-Identifier: GPL-2.0
/* What is written is what is read: lab 1's text, and what of it holds for messages too. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "module.h"

SOLO(read_returns_what_was_written,
     .says = "read() returns what was written", .page = "lab1.md#reading", .stages = ALL_STAGES)
{
	int writer = device_open(O_WRONLY), reader = device_open(O_RDONLY);

	device_send_text(writer, "hello, kernel");
	device_expect_text(reader, "hello, kernel");
}

SOLO(text_survives_closing,
     .says = "what was written stays when the file is closed", .page = "lab1.md#opening",
     .stages = ALL_STAGES)
{
	int fd = device_open(O_WRONLY);

	device_send_text(fd, "written, then closed");
	close(fd);
	device_expect_text(device_open(O_RDONLY), "written, then closed");
}

SOLO(every_byte_value_goes_through,
     .says = "any byte goes through unchanged, zero included", .page = "lab1.md#writing",
     .stages = ALL_STAGES)
{
	unsigned char out[256], in[300];
	ssize_t n;

	for (int i = 0; i < 256; i++)
		out[i] = 255 - i;
	device_send(device_open(O_WRONLY), out, sizeof(out));
	n = read(device_open(O_RDONLY), in, sizeof(in));
	expect(n == 256 && !memcmp(in, out, 256), "write() of 256 different bytes, then read()",
	       "the same 256 bytes", "%s, %s", result(n),
	       n == 256 ? "but other bytes" : "not the length written");
}

SOLO(read_when_empty_is_end_of_file,
     .says = "read() returns 0 (end of file) when nothing is there", .page = "lab1.md#reading",
     .stages = STAGE(1) | STAGE(2))
{
	char buf[16];
	int fd = device_open(O_RDWR);

	expect_value(read(fd, buf, sizeof(buf)), 0);
	device_send_text(fd, "one");
	fd = device_open(O_RDWR);
	device_expect_text(fd, "one");
	expect_value(read(fd, buf, sizeof(buf)), 0);
}

SOLO(write_replaces_the_text,
     .says = "write() replaces the whole text, a longer one too", .page = "lab1.md#writing",
     .stages = STAGE(1))
{
	int fd = device_open(O_WRONLY);

	device_send_text(fd, "a rather long first text");
	device_send_text(fd, "short");
	device_expect_text(device_open(O_RDONLY), "short");
}

SOLO(rest_follows_by_position,
     .says = "a small buffer gets the text piece by piece, then 0", .page = "lab1.md#position",
     .stages = STAGE(1))
{
	static const char text[] = "abcdefghij";
	char buf[4], all[32] = "";
	int fd = device_open(O_RDONLY);
	ssize_t n;

	device_send_text(device_open(O_WRONLY), text);
	for (int i = 0; i < 10 && (n = read(fd, buf, 4)) > 0; i++)
		strncat(all, buf, n);
	expect(n == 0, "read() of 4 bytes at a time", "0 at the end", "%s", result(n));
	expect(!strcmp(all, text), "read() of 4 bytes at a time", text, "\"%s\"", all);
}

SOLO(lseek_and_pread_follow_the_position,
     .says = "lseek() and pread() choose where in the text to read", .page = "lab1.md#position",
     .stages = STAGE(1))
{
	char buf[16] = "";
	int fd = device_open(O_RDWR);

	device_send_text(device_open(O_WRONLY), "0123456789");
	expect_value(pread(fd, buf, 3, 4), 3);
	expect(!memcmp(buf, "456", 3), "pread(fd, buf, 3, 4) of 0123456789", "456", "\"%.3s\"",
	       buf);
	expect_value(pread(fd, buf, 3, 10), 0);
	expect_value(lseek(fd, 8, SEEK_SET), 8);
	expect_value(read(fd, buf, sizeof(buf)), 2);
	expect(!memcmp(buf, "89", 2), "lseek(fd, 8, SEEK_SET), read()", "89", "\"%.2s\"", buf);
	expect_value(lseek(fd, 0, SEEK_SET), 0);
	device_expect_text(fd, "0123456789");
}

SOLO(each_open_has_its_own_position,
     .says = "two open files read the text independently", .page = "lab1.md#position",
     .stages = STAGE(1))
{
	int first = device_open(O_RDONLY), second = device_open(O_RDONLY);

	device_send_text(device_open(O_WRONLY), "for both");
	device_expect_text(first, "for both");
	device_expect_text(second, "for both");
}

SOLO(longest_message_goes_through,
     .says = "a message of exactly the limit goes through", .page = "lab1.md#limits",
     .stages = ALL_STAGES)
{
	char out[KMSGPIPE_MSG_SIZE], in[KMSGPIPE_MSG_SIZE + 8];
	ssize_t n;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = 'a' + i % 26;
	device_send(device_open(O_WRONLY), out, sizeof(out));
	n = read(device_open(O_RDONLY), in, sizeof(in));
	expect(n == sizeof(out) && !memcmp(in, out, sizeof(out)),
	       "write() of 256 bytes, then read()", "the same 256 bytes", "%s", result(n));
}

SOLO(too_long_a_message_is_refused,
     .says = "a longer one gets EMSGSIZE and changes nothing", .page = "lab1.md#limits",
     .stages = ALL_STAGES)
{
	static const size_t sizes[] = { KMSGPIPE_MSG_SIZE + 1, KMSGPIPE_MSG_SIZE_MAX + 1, 1 << 20 };
	int fd = device_open(O_WRONLY);
	char *data = calloc(1, 1 << 20);

	device_send_text(fd, "before");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		expect_errno(write(fd, data, sizes[i]), EMSGSIZE);
	fd = device_open(O_RDONLY);
	device_expect_text(fd, "before");
	device_expect_empty(fd);
}

SOLO(huge_counts_are_refused,
     .says = "a count near the largest integers gets EMSGSIZE, no memory", .page = "lab1.md#limits",
     .stages = ALL_STAGES)
{
	/* volatile: the compiler need not know that "hello" is not that long. */
	static const volatile size_t counts[] = {
		1ul << 31, (1ul << 31) - 1,
#if SIZE_MAX > UINT32_MAX
		(1ul << 32) + 5, 1ul << 33,
#endif
	};
	int fd = device_open(O_RDWR);

	device_send_text(fd, "before");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		ssize_t n = write(fd, "hello", counts[i]);

		expect(n == -1 && errno == EMSGSIZE, "write() with a count of gigabytes",
		       "-1 (EMSGSIZE)", "%s", result(n));
	}
	fd = device_open(O_RDONLY);
	device_expect_text(fd, "before");
	device_expect_empty(fd);
}

SOLO(writing_nothing_changes_nothing,
     .says = "write() of 0 bytes returns 0 and changes nothing", .page = "lab1.md#writing",
     .stages = ALL_STAGES)
{
	int fd = device_open(O_WRONLY);

	/* An empty message before this one would be read in its place. */
	expect_value(write(fd, "", 0), 0);
	device_send_text(fd, "before");
	expect_value(write(fd, "", 0), 0);
	fd = device_open(O_RDONLY);
	device_expect_text(fd, "before");
	device_expect_empty(fd);
}

SOLO(message_bytes_stay_out_of_the_log,
     .says = "what a user writes never appears in the kernel log", .page = "lab1.md#writing",
     .stages = ALL_STAGES, .as_root = true)
{
	int fd = device_open(O_RDWR), count;

	device_send_text(fd, "\n<0>judge-probe: forged");
	device_expect_text(device_open(O_RDONLY), "\n<0>judge-probe: forged");
	count = log_lines_with("judge-probe");
	expect(count == 0, "write() of a text, then read()",
	       "no line of the kernel log contains it", "%d lines do: a user can forge log lines",
	       count);
}

SOLO(users_cannot_flood_the_log,
     .says = "a user who writes and reads without end does not flood the kernel log",
     .page = "lab1.md#writing", .stages = ALL_STAGES, .as_root = true)
{
	int fd = device_open(O_RDWR), lines;

	for (int i = 0; i < rounds(1000); i++) {
		device_send_text(fd, "again");
		device_has_message(fd);
	}
	lines = log_lines_with("");
	expect(lines < 300, "write(), read(), many times", "a few lines in the kernel log",
	       "%d lines: they need a rate limit", lines);
}
