// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for test_ioctl_command.py: linked with -Wl,--wrap=ioctl, it answers instead
 * of the kernel. FAKE in the environment says how:
 *
 *   (unset)	well, as kmsgpipe with two messages
 *   errno=N	every command fails with error N
 *   long	PEEK tells a length that is larger than the buffer
 *
 * Each call leaves a line on stderr: what was asked for, and with which values.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmsgpipe.h"

int __wrap_ioctl(int fd, unsigned long number, ...);

static int fail(int error)
{
	errno = error;
	return -1;
}

static int fake_peek(struct kmsgpipe_peek *peek, const char *fake)
{
	/* All bytes there are, and what looks like an end of the string. */
	static unsigned char every[256];
	static const char second[] = "msg2\n";
	const void *data = peek->index ? (const void *)second : every;
	uint32_t room = peek->size;

	for (int i = 0; i < 256; i++)
		every[i] = i;
	fprintf(stderr, "PEEK %u %u\n", peek->index, peek->size);
	if (peek->reserved)
		return fail(EINVAL);
	if (peek->index > 1)
		return fail(ENOENT);
	peek->size = peek->index ? sizeof(second) - 1 : sizeof(every);
	if (room < peek->size)
		return fail(EMSGSIZE);
	memcpy((void *)(uintptr_t)peek->buf, data, peek->size);
	if (!strcmp(fake, "long"))
		peek->size = 0xffffffff;
	return 0;
}

int __wrap_ioctl(int fd, unsigned long number, ...)
{
	const char *fake = getenv("FAKE") ?: "";
	struct kmsgpipe_cleanup *cleanup;
	struct kmsgpipe_limits *limits;
	va_list args;
	void *arg;

	(void)fd;
	va_start(args, number);
	arg = va_arg(args, void *);
	va_end(args);
	if (!strncmp(fake, "errno=", 6))
		return fail(atoi(fake + 6));

	switch (number) {
	case KMSGPIPE_GET_STATS:
		fprintf(stderr, "GET_STATS\n");
		*(struct kmsgpipe_stats *)arg = (struct kmsgpipe_stats) {
			.written = UINT64_MAX, .read = 7, .cleared = 6, .expired = 5,
			.queued = 2, .max_msgs = 64, .msg_size = 256,
		};
		return 0;
	case KMSGPIPE_CLEAR_QUEUE:
		fprintf(stderr, "CLEAR_QUEUE\n");
		return 2;
	case KMSGPIPE_SET_LIMITS:
		limits = arg;
		fprintf(stderr, "SET_LIMITS %u %u\n", limits->max_msgs, limits->msg_size);
		return limits->reserved[0] || limits->reserved[1] ? fail(EINVAL) : 0;
	case KMSGPIPE_PEEK:
		return fake_peek(arg, fake);
	case KMSGPIPE_GET_CLEANUP:
		fprintf(stderr, "GET_CLEANUP\n");
		*(struct kmsgpipe_cleanup *)arg = (struct kmsgpipe_cleanup) {
			.interval_ms = 1000, .ttl_ms = 30000,
		};
		return 0;
	case KMSGPIPE_SET_CLEANUP:
		cleanup = arg;
		fprintf(stderr, "SET_CLEANUP %u %u\n", cleanup->interval_ms, cleanup->ttl_ms);
		return cleanup->reserved[0] || cleanup->reserved[1] ? fail(EINVAL) : 0;
	default:
		fprintf(stderr, "number %#lx\n", number);
		return number == 0xe977 ? 0 : fail(ENOTTY);
	}
}
