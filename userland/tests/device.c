// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

int device_open(int flags)
{
	int fd = open(KMSGPIPE_NODE, flags | O_CLOEXEC);

	expect(fd >= 0, "open(\"" KMSGPIPE_NODE "\")", "a file descriptor", "%s", result(fd));
	return fd;
}

/*
 * Every call here can be served at once. A driver that would wait all the same, say
 * because it lost a message, is to be told so in words and not by a time-out.
 */
static bool no_waiting(int fd)
{
	int flags = stage_number > 2 ? fcntl(fd, F_GETFL) : O_NONBLOCK;

	if (flags & O_NONBLOCK)
		return false;
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	return true;
}

/* Undoes no_waiting(), if there is something to undo. Keeps errno. */
static void wait_again(int fd, bool again)
{
	int error = errno;

	if (again)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	errno = error;
}

void device_send(int fd, const void *data, size_t len)
{
	bool waits = no_waiting(fd);
	ssize_t n = write(fd, data, len);
	char did[64];

	wait_again(fd, waits);
	if (n == (ssize_t)len)
		return;
	snprintf(did, sizeof(did), "write() of %zu bytes", len);
	test_fail(did, number(len), "%s", result(n));
}

void device_send_text(int fd, const char *text)
{
	device_send(fd, text, strlen(text));
}

void device_expect_text(int fd, const char *text)
{
	char buf[KMSGPIPE_MSG_SIZE_MAX + 1], did[] = "read() of a full buffer";
	bool waits = no_waiting(fd);
	ssize_t n = read(fd, buf, KMSGPIPE_MSG_SIZE_MAX);

	wait_again(fd, waits);
	expect(n >= 0, did, text, "%s", result(n));
	buf[n] = '\0';
	expect(n == (ssize_t)strlen(text) && !memcmp(buf, text, n), did, text,
	       "%zd bytes: \"%s\"", n, buf);
}

void device_expect_empty(int fd)
{
	bool waits = no_waiting(fd);
	char buf[KMSGPIPE_MSG_SIZE_MAX];
	ssize_t n = read(fd, buf, sizeof(buf));

	wait_again(fd, waits);
	if (stage_number < 3)
		expect(n == 0, "read() when nothing should be left", "0 (end of file)", "%s",
		       result(n));
	else
		expect(n == -1 && errno == EAGAIN,
		       "read() with O_NONBLOCK when nothing should be left", "-1 (EAGAIN)", "%s",
		       result(n));
}

void device_send_numbers(int fd, int first, int count)
{
	char text[32];

	for (int i = first; i < first + count; i++) {
		snprintf(text, sizeof(text), "message %d", i);
		device_send_text(fd, text);
	}
}

void device_expect_numbers(int fd, int first, int count)
{
	char text[32];

	for (int i = first; i < first + count; i++) {
		snprintf(text, sizeof(text), "message %d", i);
		device_expect_text(fd, text);
	}
}

bool device_has_message(int fd)
{
	char buf[KMSGPIPE_MSG_SIZE_MAX];
	bool waits = no_waiting(fd);
	ssize_t n = read(fd, buf, sizeof(buf));

	wait_again(fd, waits);
	return n > 0;
}

bool device_is_ready(int fd, short event)
{
	struct pollfd pfd = { .fd = fd, .events = event };
	int n = poll(&pfd, 1, 0);

	expect(n >= 0, "poll() without waiting", "0 or 1", "%s", result(n));
	return n == 1 && (pfd.revents & event);
}

struct kmsgpipe_stats device_stats(int fd)
{
	struct kmsgpipe_stats stats;
	int ret = ioctl(fd, KMSGPIPE_GET_STATS, &stats);

	expect(!ret, "ioctl(KMSGPIPE_GET_STATS)", "0", "%s", result(ret));
	return stats;
}

void wait_expired(int fd, unsigned long long count)
{
	while (device_stats(fd).expired < count)
		if (!wait_a_moment())
			test_fail("messages older than ttl_ms", "they expire",
				  "%llu of %llu have expired",
				  (unsigned long long)device_stats(fd).expired, count);
}

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	expect(memory != MAP_FAILED, "mmap() of the test's own memory", "memory", "%s", result(-1));
	return memory;
}

void *partly_bad_buffer(size_t len, size_t good, bool writable)
{
	size_t page = sysconf(_SC_PAGESIZE), pages = (len + page - 1) / page + 1;
	char *start = mmap(NULL, 2 * pages * page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *border = start + pages * page;

	expect(start != MAP_FAILED, "mmap() of the test's own memory", "memory", "%s", result(-1));
	memset(start, 'x', pages * page);
	mprotect(border, pages * page, PROT_NONE);
	if (!writable)
		mprotect(start, pages * page, PROT_READ);
	return border - good;
}

/* -- callers ------------------------------------------------------------------------ */

struct caller *start_caller(int fd, const char *doing, long (*fn)(struct caller *self))
{
	struct caller *caller = shared_memory(sizeof(*caller));
	pid_t pid;

	caller->fd = fd;
	caller->doing = doing;
	pid = fork();
	expect(pid >= 0, "fork()", "a process", "%s", result(-1));
	if (!pid) {
		long ret = fn(caller);

		caller->error = errno;
		caller->ret = ret;
		caller->done = true;
		_exit(0);
	}
	caller->pid = pid;
	return caller;
}

struct caller *start_sleeper(int fd, const char *doing, long (*fn)(struct caller *self))
{
	int flags = fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), own;
	struct caller *caller;
	char path[32];

	/* Here and not in the child: it is known to sleep by sleeping in some system call. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, flags | O_CLOEXEC);
	expect(own >= 0, "open() of the same device once more", "a file descriptor", "%s",
	       result(own));
	caller = start_caller(own, doing, fn);
	close(own);
	return caller;
}

/* What the next reader or writer works on; fork() copies it into the child. */
static void *buffer;
static size_t length;

static long call_read(struct caller *self)
{
	long ret = read(self->fd, buffer ? buffer : self->data, length);

	return ret;
}

static long call_write(struct caller *self)
{
	return write(self->fd, buffer, length);
}

static long call_poll(struct caller *self)
{
	struct pollfd pfd = { .fd = self->fd, .events = length };
	int n = poll(&pfd, 1, -1);

	return n < 0 ? n : pfd.revents;
}

struct caller *start_reader_into(int fd, void *buf, size_t size)
{
	buffer = buf;
	length = size;
	return start_sleeper(fd, "read()", call_read);
}

struct caller *start_reader(int fd, size_t size)
{
	return start_reader_into(fd, NULL, size);
}

struct caller *start_writer(int fd, const char *text)
{
	buffer = (void *)text;
	length = strlen(text);
	return start_sleeper(fd, "write()", call_write);
}

struct caller *start_poller(int fd, short events)
{
	length = events;
	return start_caller(fd, "poll()", call_poll);
}

static char state_of(pid_t pid)
{
	char path[64], stat[256], *state;
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, stat, sizeof(stat) - 1);
		close(fd);
	}
	stat[n > 0 ? n : 0] = '\0';
	state = strrchr(stat, ')');
	return state && state[1] ? state[2] : '?';
}

/* The number of the system call that a process sleeps in, or -1 if it runs. */
static long call_of(pid_t pid)
{
	char path[64], text[256];
	ssize_t n = -1;
	long call;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	return sscanf(text, "%ld", &call) == 1 ? call : -1;
}

bool is_asleep(const struct caller *caller)
{
	/* In this order: of a process that runs the first answer is enough, and the cheaper one. */
	return !caller->done && call_of(caller->pid) >= 0 && state_of(caller->pid) == 'S';
}

bool sleeps_again(const struct caller *caller)
{
	while (!caller->done && !is_asleep(caller) && wait_a_moment())
		;
	return !caller->done;
}

bool is_waiting(const struct caller *caller)
{
	return is_asleep(caller) || state_of(caller->pid) == 'D';
}

/* wait_a_moment(), but at first only for who shares our CPU: mostly that is enough. */
static bool wait_a_bit(int *looks)
{
	if (++*looks > 4)
		return wait_a_moment();
	sched_yield();
	return true;
}

void wait_asleep(struct caller *caller)
{
	int looks = 0;

	while (!is_asleep(caller)) {
		char state = state_of(caller->pid);

		errno = caller->error;
		expect(!caller->done, caller->doing, "it sleeps, as nothing can be done yet",
		       "it returned %s at once", result(caller->ret));
		if (!wait_a_bit(&looks))
			test_fail(caller->doing, "it sleeps where a signal can reach it (state S)",
				  "its process is in state %c%s", state,
				  state == 'R' ? ": it keeps a CPU busy while it waits" :
				  state == 'D' ? ": no signal can reach it" : "");
	}
}

long times_scheduled(const struct caller *caller)
{
	char path[64], line[128];
	long sum = 0, n;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", caller->pid);
	status = fopen(path, "r");
	expect(status, "open(\"/proc/PID/status\")", "a file", "%s", result(-1));
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1 ||
		    sscanf(line, "nonvoluntary_ctxt_switches: %ld", &n) == 1)
			sum += n;
	fclose(status);
	return sum;
}

void run_on_cpu(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	/* The kernel leaves out those that the machine does not have. */
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (cpu == ANY_CPU || cpu == i)
			CPU_SET(i, &cpus);
	/* EINVAL: it has none of these. */
	expect(!sched_setaffinity(0, sizeof(cpus), &cpus) || errno == EINVAL,
	       "sched_setaffinity()", "0", "%s", result(-1));
}

void keep_the_cpu(bool keep)
{
	struct sched_param priority = { .sched_priority = keep ? 1 : 0 };

	expect(!sched_setscheduler(0, keep ? SCHED_FIFO : SCHED_OTHER, &priority),
	       "sched_setscheduler()", "0", "%s", result(-1));
}

void wait_done(struct caller *caller, const char *why)
{
	int looks = 0;

	while (!caller->done) {
		char state = state_of(caller->pid);

		/* It may have returned and gone between our two looks. */
		expect(caller->done || state != 'Z', caller->doing, why,
		       "its process died in the call");
		if (!wait_a_bit(&looks))
			test_fail(caller->doing, why, "it sleeps on (process %d, state %c)",
				  caller->pid, state);
	}
}

void wait_returned(struct caller *caller, long ret, const char *why)
{
	wait_done(caller, why);
	errno = caller->error;
	expect(caller->ret == ret, caller->doing, why, "it returned %s", result(caller->ret));
}

void kill_and_reap(struct caller *caller)
{
	int status, looks = 0;

	kill(caller->pid, SIGKILL);
	while (waitpid(caller->pid, &status, WNOHANG) != caller->pid)
		if (!wait_a_bit(&looks))
			test_fail("SIGKILL to a process asleep in the device", "it dies",
				  "it is in state %c and does not die", state_of(caller->pid));
}
