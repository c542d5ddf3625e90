// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "slow.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

/* One page is enough for every message. */
#define PAGE KMSGPIPE_MSG_SIZE_MAX

/* A pipe: there is nothing to read from it until let_go(). */
static int gate[2] = { -1, -1 };

/* What the slow caller of this process works on; each has a process of its own. */
static size_t length;
static const char *source;
static int faults;
static char *page;
static struct caller *me;

/* How many bytes of the caller's buffer there will be; after them comes a bad page. */
static size_t good_bytes = PAGE;

/*
 * Waits for the fault, then at the gate, then provides the page. A thread, as the faulting
 * one sleeps.
 */
static void *provide_page(void *unused)
{
	static char content[PAGE] __attribute__((aligned(PAGE)));
	struct uffdio_copy copy = {
		.dst = (unsigned long)page, .src = (unsigned long)content, .len = PAGE
	};
	struct uffd_msg fault;
	char byte;

	if (source)
		memcpy(content, source, length);
	if (read(faults, &fault, sizeof(fault)) != sizeof(fault))
		test_fail("read() of a userfaultfd", "a page fault", "%s", result(-1));
	me->in_copy = true;
	if (read(gate[0], &byte, 1) != 1 || ioctl(faults, UFFDIO_COPY, &copy))
		test_fail("UFFDIO_COPY", "0", "%s", result(-1));
	return unused;
}

static void make_slow_page(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_t thread;

	page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	expect(page != MAP_FAILED && faults >= 0, "userfaultfd()", "a file descriptor", "%s",
	       result(-1));
	mprotect(page + PAGE, PAGE, PROT_NONE);
	range.range.start = (unsigned long)page;
	range.range.len = PAGE;
	expect(!ioctl(faults, UFFDIO_API, &api) && !ioctl(faults, UFFDIO_REGISTER, &range),
	       "UFFDIO_REGISTER", "0", "%s", result(-1));
	expect(!pthread_create(&thread, NULL, provide_page, NULL), "pthread_create()", "0",
	       "an error");
}

static long slow_read(struct caller *self)
{
	long ret;

	me = self;
	make_slow_page();
	ret = read(self->fd, page + PAGE - good_bytes, length);
	if (ret > 0)
		memcpy(self->data, page + PAGE - good_bytes, ret);
	return ret;
}

static long slow_write(struct caller *self)
{
	me = self;
	make_slow_page();
	return write(self->fd, page, length);
}

static struct caller *start_slow(int fd, const char *doing, long (*fn)(struct caller *self))
{
	struct caller *caller;

	if (gate[0] < 0)
		expect_value(pipe2(gate, O_CLOEXEC), 0);
	caller = start_sleeper(fd, doing, fn);
	wait_asleep(caller);
	return caller;
}

struct caller *start_slow_reader(int fd, size_t size)
{
	source = NULL;
	length = size;
	good_bytes = PAGE;
	return start_slow(fd, "read() into a page that comes late", slow_read);
}

struct caller *start_slow_bad_reader(int fd, size_t size, size_t good)
{
	source = NULL;
	length = size;
	good_bytes = good;
	return start_slow(fd, "read() into a page that comes late, and a bad one", slow_read);
}

struct caller *start_slow_writer(int fd, const char *text)
{
	source = text;
	length = strlen(text);
	return start_slow(fd, "write() from a page that comes late", slow_write);
}

void let_go(void)
{
	static const char bytes[16];

	/* One byte for each slow caller that there can be. */
	expect_value(write(gate[1], bytes, sizeof(bytes)), sizeof(bytes));
}
