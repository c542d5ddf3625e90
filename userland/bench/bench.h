/* SPDX-License-Identifier: GPL-2.0 */
/* kmsgpipe-bench: what its files share. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As long as the longest message of the driver. */
#define BENCH_SIZE_MAX	4096

/**
 * struct ends - an open channel
 * @in: what is written to
 * @out: what is read from; may be the same
 */
struct ends {
	int in;
	int out;
};

/**
 * struct channel - a way from one process to another
 * @name: what the tables call it
 * @moves: false if what is written is not what is read: the floor
 * @ours: true if it is our driver: batches and messages that expire
 * @deepest: most messages that it can hold, at 64 bytes each
 * @open: opens number @index of them, for so many messages of that size; both ends block
 * @send: sends one message; 0 or its size if that worked
 * @receive: receives one message of that size; returns its size
 */
struct channel {
	const char *name;
	bool moves;
	bool ours;
	unsigned int deepest;
	struct ends (*open)(unsigned int index, unsigned int capacity, size_t size);
	ssize_t (*send)(int fd, const void *data, size_t size);
	ssize_t (*receive)(int fd, void *data, size_t size);
};

extern const struct channel channels[];
extern const size_t channel_count;

/* Says what is wrong and ends the process: a figure of half a benchmark is none. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
