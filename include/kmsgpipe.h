/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * kmsgpipe: what the driver and user space agree on.
 *
 * Every stage of the course and every program in userland/ includes this one
 * file, so that the two sides cannot drift apart. C and C++ can read it.
 *
 * Every field has the same size and place for a 32-bit and a 64-bit program, and
 * no struct has padding: nothing has to be translated, and no byte can carry what
 * happened to be on the kernel's stack (Documentation/process/botching-up-ioctls.rst).
 */
#ifndef _UAPI_KMSGPIPE_H
#define _UAPI_KMSGPIPE_H

#include <linux/ioctl.h>
#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>	/* static_assert() */
#else
#include <assert.h>
#endif

/* The class under /sys/class, and the stem of the node's name in /dev. */
#define KMSGPIPE_NAME		"kmsgpipe"
#define KMSGPIPE_NODE		"/dev/kmsgpipe0"

/*
 * The longest message in bytes: what a driver starts with, and how far a
 * module parameter or KMSGPIPE_SET_LIMITS may raise it.
 */
#define KMSGPIPE_MSG_SIZE	256
#define KMSGPIPE_MSG_SIZE_MAX	4096

/* The same two figures for the number of messages that may be queued. */
#define KMSGPIPE_MAX_MSGS	64
#define KMSGPIPE_MAX_MSGS_MAX	65536

/*
 * Lab 5: how long a message may wait for a reader, and how often the driver looks
 * for those that waited longer, in milliseconds. 0 turns either off. Neither can be
 * more than a day.
 */
#define KMSGPIPE_TTL_MS		30000
#define KMSGPIPE_INTERVAL_MS	1000
#define KMSGPIPE_CLEANUP_MS_MAX	86400000

/**
 * struct kmsgpipe_stats - what KMSGPIPE_GET_STATS tells
 * @written: messages that were queued since the driver was loaded
 * @read: messages that a read() has taken
 * @cleared: messages that KMSGPIPE_CLEAR_QUEUE has dropped
 * @expired: messages that were dropped because they waited too long (lab 5)
 * @queued: messages in the queue now
 * @max_msgs: most messages that may be queued at a time
 * @msg_size: longest message in bytes
 * @reserved: 0
 *
 * All fields are of one moment: @written is always @read + @cleared + @expired +
 * @queued.
 */
struct kmsgpipe_stats {
	__u64 written;
	__u64 read;
	__u64 cleared;
	__u64 expired;
	__u32 queued;
	__u32 max_msgs;
	__u32 msg_size;
	__u32 reserved;
};

/**
 * struct kmsgpipe_limits - what KMSGPIPE_SET_LIMITS sets
 * @max_msgs: most messages queued at a time, 1 to KMSGPIPE_MAX_MSGS_MAX
 * @msg_size: longest message in bytes, 1 to KMSGPIPE_MSG_SIZE_MAX
 * @reserved: must be 0
 */
struct kmsgpipe_limits {
	__u32 max_msgs;
	__u32 msg_size;
	__u32 reserved[2];
};

/**
 * struct kmsgpipe_peek - which message KMSGPIPE_PEEK copies, and where to
 * @index: how many messages come before it; 0 is the one that is read next
 * @size: in: bytes at @buf; out: length of the message
 * @buf: address of the buffer, as a number
 * @reserved: must be 0
 */
struct kmsgpipe_peek {
	__u32 index;
	__u32 size;
	__u64 buf;
	__u64 reserved;
};

/**
 * struct kmsgpipe_cleanup - what KMSGPIPE_SET_CLEANUP sets and KMSGPIPE_GET_CLEANUP tells
 * @interval_ms: time between two looks for expired messages, up to
 *	KMSGPIPE_CLEANUP_MS_MAX; 0: never look
 * @ttl_ms: how long a message may wait, up to KMSGPIPE_CLEANUP_MS_MAX; 0: for ever
 * @reserved: must be 0 to set; told as 0
 */
struct kmsgpipe_cleanup {
	__u32 interval_ms;
	__u32 ttl_ms;
	__u32 reserved[2];
};

/**
 * struct kmsgpipe_entry - one message of a batch (capstone)
 * @buf: address of its buffer, as a number
 * @size: of a message to send: its length; of one to receive: in: bytes at @buf, out: length
 * @reserved: must be 0
 */
struct kmsgpipe_entry {
	__u64 buf;
	__u32 size;
	__u32 reserved;
};

/**
 * struct kmsgpipe_batch - several messages for one system call (capstone)
 * @size: bytes of this struct as the program knows it; it may grow at its end
 * @count: entries at @entries, 1 to KMSGPIPE_BATCH_MAX
 * @entries: address of an array of struct kmsgpipe_entry, as a number
 * @reserved: must be 0
 */
struct kmsgpipe_batch {
	__u32 size;
	__u32 count;
	__u64 entries;
	__u64 reserved;
};

/* The most messages of one batch. */
#define KMSGPIPE_BATCH_MAX	1024

/*
 * The first byte of each command's number. 0xE9 is free: neither the table in
 * Documentation/userspace-api/ioctl/ioctl-number.rst nor any _IO*() in Linux 6.6 has it.
 */
#define KMSGPIPE_IOC_MAGIC	0xE9

/**
 * KMSGPIPE_GET_STATS - counters and limits, for anyone
 *
 * Fills a struct kmsgpipe_stats. Errors: EFAULT.
 */
#define KMSGPIPE_GET_STATS	_IOR(KMSGPIPE_IOC_MAGIC, 1, struct kmsgpipe_stats)

/**
 * KMSGPIPE_CLEAR_QUEUE - drop all messages
 *
 * Returns how many were dropped. A message that a read() is copying at this moment
 * is not dropped: it belongs to that reader. Writers that waited for room go on.
 * Errors: EPERM without CAP_SYS_ADMIN.
 */
#define KMSGPIPE_CLEAR_QUEUE	_IO(KMSGPIPE_IOC_MAGIC, 2)

/**
 * KMSGPIPE_SET_LIMITS - change both limits
 *
 * Takes a struct kmsgpipe_limits. What is queued stays, even if it is more, or
 * longer, than the new limits allow; writers then wait until there is room again. A
 * write() that has begun keeps the msg_size with which it began.
 * Errors: EPERM without CAP_SYS_ADMIN, EFAULT, EINVAL for a limit out of range or a
 * reserved field that is not 0; then nothing is changed.
 */
#define KMSGPIPE_SET_LIMITS	_IOW(KMSGPIPE_IOC_MAGIC, 3, struct kmsgpipe_limits)

/**
 * KMSGPIPE_PEEK - copy a message and leave it in the queue
 *
 * Takes a struct kmsgpipe_peek, copies the message to its buf and the message's
 * length to its size. Never sleeps for a message to come. Needs a file that is open
 * for reading.
 * Errors: EBADF if it is not, EFAULT, EINVAL if reserved is not 0, ENOENT if there is
 * no such message, EMSGSIZE if it is longer than size; size then tells its length.
 */
#define KMSGPIPE_PEEK		_IOWR(KMSGPIPE_IOC_MAGIC, 4, struct kmsgpipe_peek)

/**
 * KMSGPIPE_SET_CLEANUP - change how long messages may wait (lab 5)
 *
 * Takes a struct kmsgpipe_cleanup. Holds for the messages in the queue, too. The
 * first look comes one new interval from now.
 * Errors: EPERM without CAP_SYS_ADMIN, EFAULT, EINVAL for a time out of range or a
 * reserved field that is not 0; then nothing is changed.
 */
#define KMSGPIPE_SET_CLEANUP	_IOW(KMSGPIPE_IOC_MAGIC, 5, struct kmsgpipe_cleanup)

/**
 * KMSGPIPE_GET_CLEANUP - how long messages may wait, for anyone (lab 5)
 *
 * Fills a struct kmsgpipe_cleanup. Errors: EFAULT.
 */
#define KMSGPIPE_GET_CLEANUP	_IOR(KMSGPIPE_IOC_MAGIC, 6, struct kmsgpipe_cleanup)

/**
 * KMSGPIPE_SEND_BATCH - queue several messages, in their order (capstone)
 *
 * Takes a struct kmsgpipe_batch. Each entry is what one write() would be, and its message
 * is queued whole or not at all. Returns how many were queued. Only the first may sleep for
 * room: once one is queued, the batch ends where it would have to wait, or where an entry
 * has an error, and returns what it has done; the next call begins with that entry and
 * gets the error.
 * Needs a file that is open for writing. Others may queue messages in between.
 * Errors, all of them with nothing queued: EBADF, E2BIG if the struct is longer than the
 * driver's and the rest is not 0, EINVAL if size is shorter than the first version, count out
 * of range, a reserved field not 0 or an entry's size 0, and those of write(): EAGAIN,
 * EFAULT, EINTR, EMSGSIZE, ENOMEM.
 */
#define KMSGPIPE_SEND_BATCH	_IOWR(KMSGPIPE_IOC_MAGIC, 7, struct kmsgpipe_batch)

/**
 * KMSGPIPE_RECV_BATCH - take several messages, oldest first (capstone)
 *
 * Takes a struct kmsgpipe_batch. Each entry is what one read() would be; the message's length
 * goes to its size. Returns how many were taken. Only the first may sleep for a message;
 * where the batch ends, and how, is as for KMSGPIPE_SEND_BATCH. A message that does not
 * fit into its entry, or whose copy fails, stays the first of the queue.
 * Needs a file that is open for reading. Others may take messages in between.
 * Errors, all of them with nothing taken: as for KMSGPIPE_SEND_BATCH, with those of read().
 */
#define KMSGPIPE_RECV_BATCH	_IOWR(KMSGPIPE_IOC_MAGIC, 8, struct kmsgpipe_batch)

/* Old programs and new drivers meet: no size and no place may ever change. */
#define KMSGPIPE_AT(type, field, at)	\
	static_assert(__builtin_offsetof(struct type, field) == (at), #field " has moved")

static_assert(sizeof(struct kmsgpipe_stats) == 48, "size of kmsgpipe_stats");
KMSGPIPE_AT(kmsgpipe_stats, written, 0);
KMSGPIPE_AT(kmsgpipe_stats, read, 8);
KMSGPIPE_AT(kmsgpipe_stats, cleared, 16);
KMSGPIPE_AT(kmsgpipe_stats, expired, 24);
KMSGPIPE_AT(kmsgpipe_stats, queued, 32);
KMSGPIPE_AT(kmsgpipe_stats, max_msgs, 36);
KMSGPIPE_AT(kmsgpipe_stats, msg_size, 40);
KMSGPIPE_AT(kmsgpipe_stats, reserved, 44);

static_assert(sizeof(struct kmsgpipe_limits) == 16, "size of kmsgpipe_limits");
KMSGPIPE_AT(kmsgpipe_limits, max_msgs, 0);
KMSGPIPE_AT(kmsgpipe_limits, msg_size, 4);
KMSGPIPE_AT(kmsgpipe_limits, reserved, 8);

static_assert(sizeof(struct kmsgpipe_peek) == 24, "size of kmsgpipe_peek");
KMSGPIPE_AT(kmsgpipe_peek, index, 0);
KMSGPIPE_AT(kmsgpipe_peek, size, 4);
KMSGPIPE_AT(kmsgpipe_peek, buf, 8);
KMSGPIPE_AT(kmsgpipe_peek, reserved, 16);

static_assert(sizeof(struct kmsgpipe_cleanup) == 16, "size of kmsgpipe_cleanup");
KMSGPIPE_AT(kmsgpipe_cleanup, interval_ms, 0);
KMSGPIPE_AT(kmsgpipe_cleanup, ttl_ms, 4);
KMSGPIPE_AT(kmsgpipe_cleanup, reserved, 8);

static_assert(sizeof(struct kmsgpipe_entry) == 16, "size of kmsgpipe_entry");
KMSGPIPE_AT(kmsgpipe_entry, buf, 0);
KMSGPIPE_AT(kmsgpipe_entry, size, 8);
KMSGPIPE_AT(kmsgpipe_entry, reserved, 12);

static_assert(sizeof(struct kmsgpipe_batch) == 24, "size of kmsgpipe_batch");
KMSGPIPE_AT(kmsgpipe_batch, size, 0);
KMSGPIPE_AT(kmsgpipe_batch, count, 4);
KMSGPIPE_AT(kmsgpipe_batch, entries, 8);
KMSGPIPE_AT(kmsgpipe_batch, reserved, 16);

#undef KMSGPIPE_AT

#endif /* _UAPI_KMSGPIPE_H */
