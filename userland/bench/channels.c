// SPDX-License-Identifier: GPL-2.0
/*
 * The channels that are compared, each opened for the same number of messages.
 *
 * What limits them is not the same: kmsgpipe, mqueue and SOCK_DGRAM count messages, a pipe
 * its pages, SOCK_SEQPACKET the memory of its messages. Each is set up so that as many
 * messages fit as were asked for, or as close to that as it can get.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "kmsgpipe.h"

#define PAGE 4096

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static void write_number(const char *path, unsigned int number)
{
	int fd = open_or_die(path, O_WRONLY);

	if (dprintf(fd, "%u\n", number) < 0)
		die("%s: %u: %s", path, number, strerror(errno));
	close(fd);
}

static struct ends floor_open(unsigned int index, unsigned int capacity, size_t size)
{
	(void)index;
	(void)capacity;
	(void)size;
	return (struct ends) {
		.in = open_or_die("/dev/null", O_WRONLY),
		.out = open_or_die("/dev/zero", O_RDONLY),
	};
}

static struct ends kmsgpipe_open(unsigned int index, unsigned int capacity, size_t size)
{
	struct kmsgpipe_limits limits = { .max_msgs = capacity, .msg_size = size };
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/" KMSGPIPE_NAME "%u", index);
	fd = open_or_die(path, O_RDWR);
	if (ioctl(fd, KMSGPIPE_SET_LIMITS, &limits) || ioctl(fd, KMSGPIPE_CLEAR_QUEUE) < 0)
		die("%s: %s", path, strerror(errno));
	return (struct ends) { .in = fd, .out = fd };
}

static struct ends pipe_with(int flags, size_t bytes)
{
	int fds[2];

	if (pipe2(fds, flags | O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	if (fcntl(fds[1], F_SETPIPE_SZ, bytes) < 0)
		die("a pipe of %zu bytes: %s", bytes, strerror(errno));
	return (struct ends) { .in = fds[1], .out = fds[0] };
}

/*
 * A byte pipe packs messages into pages, and uses a page again only once all of it was read.
 * So it needs one more than the messages fill, to hold as many of them at any time.
 */
static struct ends pipe_open(unsigned int index, unsigned int capacity, size_t size)
{
	(void)index;
	return pipe_with(0, capacity * size + PAGE);
}

/* A packet pipe has a page for each message. */
static struct ends packet_open(unsigned int index, unsigned int capacity, size_t size)
{
	(void)index;
	(void)size;
	return pipe_with(O_DIRECT, (size_t)capacity * PAGE);
}

static void set_send_buffer(int fd, int bytes)
{
	/* The kernel doubles it. */
	int half = bytes / 2;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &half, sizeof(half)))
		die("SO_SNDBUFFORCE: %s", strerror(errno));
}

/* A socket counts the memory of what was sent and not received: look what one takes. */
static int memory_of_one(const int *fds, size_t size)
{
	char data[BENCH_SIZE_MAX] = "";
	int bytes;

	if (write(fds[0], data, size) != (ssize_t)size || ioctl(fds[0], SIOCOUTQ, &bytes) ||
	    read(fds[1], data, sizeof(data)) != (ssize_t)size)
		die("a message through a socket: %s", strerror(errno));
	return bytes;
}

static struct ends socket_with(int type, unsigned int capacity, size_t size)
{
	int fds[2];

	/* What a datagram socket is allowed to queue, set when it is made: the limit and one. */
	write_number("/proc/sys/net/unix/max_dgram_qlen", capacity - 1);
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds))
		die("socketpair: %s", strerror(errno));
	/* It may send as long as what is there is less than the limit. */
	set_send_buffer(fds[0], memory_of_one(fds, size) * capacity);
	return (struct ends) { .in = fds[0], .out = fds[1] };
}

static struct ends seqpacket_open(unsigned int index, unsigned int capacity, size_t size)
{
	(void)index;
	return socket_with(SOCK_SEQPACKET, capacity, size);
}

static struct ends dgram_open(unsigned int index, unsigned int capacity, size_t size)
{
	(void)index;
	return socket_with(SOCK_DGRAM, capacity, size);
}

static struct ends mqueue_open(unsigned int index, unsigned int capacity, size_t size)
{
	struct mq_attr attr = { .mq_maxmsg = capacity, .mq_msgsize = size };
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	char name[32];
	mqd_t queue;

	if (setrlimit(RLIMIT_MSGQUEUE, &all))
		die("RLIMIT_MSGQUEUE: %s", strerror(errno));
	snprintf(name, sizeof(name), "/bench%u", index);
	mq_unlink(name);
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	if (queue == (mqd_t)-1)
		die("mq_open: %s", strerror(errno));
	return (struct ends) { .in = queue, .out = queue };
}

static ssize_t mqueue_send(int fd, const void *data, size_t size)
{
	return mq_send(fd, data, size, 0);
}

static ssize_t mqueue_receive(int fd, void *data, size_t size)
{
	return mq_receive(fd, data, size, NULL);
}

const struct channel channels[] = {
	{ .name = "floor", .deepest = 65536, .open = floor_open, .send = write, .receive = read },
	{ .name = "kmsgpipe", .moves = true, .ours = true, .deepest = KMSGPIPE_MAX_MSGS_MAX,
	  .open = kmsgpipe_open, .send = write, .receive = read },
	{ .name = "pipe", .moves = true, .deepest = 65536, .open = pipe_open, .send = write,
	  .receive = read },
	/* 65,536 pages would be the whole machine. */
	{ .name = "packet-pipe", .moves = true, .deepest = 10000, .open = packet_open,
	  .send = write, .receive = read },
	{ .name = "seqpacket", .moves = true, .deepest = 65536, .open = seqpacket_open,
	  .send = write, .receive = read },
	{ .name = "dgram", .moves = true, .deepest = 65536, .open = dgram_open, .send = write,
	  .receive = read },
	{ .name = "mqueue", .moves = true, .deepest = 65536, .open = mqueue_open,
	  .send = mqueue_send, .receive = mqueue_receive },
};

const size_t channel_count = sizeof(channels) / sizeof(channels[0]);
