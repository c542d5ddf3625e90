// SPDX-License-Identifier: GPL-2.0
/*
 * kmsgpipe-bench: what a message costs, through the driver and through the channels of the
 * kernel itself.
 *
 *   kmsgpipe-bench MODE MODULE [CELL...]
 *
 * MODE is what is measured. `instructions` reads the time-stamp counter of a machine on
 * which one instruction takes one tick: QEMU's -icount shift=0. `wall` reads the clock. MODULE
 * is loaded first. A CELL, such as thread or thread/pipe, leaves out all others.
 *
 * One line of output for a figure:
 *
 *   figure PATTERN CHANNEL SIZE DEPTH VALUE...
 *
 * VALUE is instructions per message; in wall mode nanoseconds, one for each repetition.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench.h"
#include "kmsgpipe.h"

/* Messages a round; rounds that warm up caches and are not counted; rounds that are. */
#define ROUND	256
#define WARM_UP	4
#define ROUNDS	25
/* How many messages each channel can hold, but for the pattern `depth`. */
#define CAPACITY 64
/* Messages of a batch. */
#define BATCH	32
/* Processes on each side of the pattern `crowd`. */
#define CROWD	4
/* Repetitions in wall mode; channels take turns, so that all see the same machine. */
#define REPETITIONS 9

/* What the processes of a pattern share. Each reader counts on a cache line of its own. */
struct shared {
	struct {
		uint64_t messages;
		char unused[64 - sizeof(uint64_t)];
	} received[CROWD];
	int readers;
	double per_message;
};

static struct shared *shared;
static bool wall;

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("error ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(1);
}

static uint64_t now(void)
{
	struct timespec time;

	if (!wall)
		return __rdtsc();
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* Ticks of the counter for so many turns of a loop of two instructions. */
static uint64_t ticks_of_loop(uint64_t turns)
{
	uint64_t start = __rdtsc();

	asm volatile("1: dec %0\n\tjnz 1b" : "+r"(turns) : : "cc");
	return __rdtsc() - start;
}

/* The counter has to count instructions: a thousand turns more are two thousand ticks more. */
static void check_counter(void)
{
	for (int i = 0; i < 5; i++) {
		uint64_t more = ticks_of_loop(2000) - ticks_of_loop(1000);

		if (more != 2000)
			die("1000 turns of 2 instructions took %lu ticks, not 2000",
			    (unsigned long)more);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The median: a timer tick or two among the rounds does not show in it. */
static double median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_value);
	return values[count / 2];
}

static void send_one(const struct channel *channel, int fd, const void *data, size_t size)
{
	ssize_t sent = channel->send(fd, data, size);

	if (sent < 0)
		die("%s: send: %s", channel->name, strerror(errno));
}

static void receive_one(const struct channel *channel, int fd, void *data, size_t size)
{
	ssize_t received = channel->receive(fd, data, size);

	if (received != (ssize_t)size)
		die("%s: received %zd of %zu bytes: %s", channel->name, received, size,
		    strerror(errno));
}

static void wait_for(int fd, short events)
{
	struct pollfd pollfd = { .fd = fd, .events = events };

	if (poll(&pollfd, 1, -1) != 1)
		die("poll: %s", strerror(errno));
}

/* -- patterns ------------------------------------------------------------------------ */

/* One thread writes a message and reads it. */
static double thread_rounds(const struct channel *channel, struct ends ends, size_t size)
{
	static char data[BENCH_SIZE_MAX];
	double rounds[ROUNDS];

	for (int round = -WARM_UP; round < ROUNDS; round++) {
		uint64_t start = now();

		for (int i = 0; i < ROUND; i++) {
			send_one(channel, ends.in, data, size);
			receive_one(channel, ends.out, data, size);
		}
		if (round >= 0)
			rounds[round] = (double)(now() - start) / ROUND;
	}
	return median(rounds, ROUNDS);
}

static void close_ends(struct ends ends)
{
	close(ends.in);
	if (ends.out != ends.in)
		close(ends.out);
}

static double run_thread(const struct channel *channel, size_t size, unsigned int depth)
{
	struct ends ends = channel->open(0, depth ? depth : CAPACITY, size);
	static char data[BENCH_SIZE_MAX];
	double result;

	for (unsigned int i = 1; channel->moves && i < depth; i++)
		send_one(channel, ends.in, data, size);
	result = thread_rounds(channel, ends, size);
	close_ends(ends);
	return result;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity: %s", strerror(errno));
}

/*
 * By the default policy a process that is woken may go first, at once, if it has had less of
 * the CPU than the one that woke it. Then a writer whose reader does a little more work than
 * it goes first at each free slot, and what is measured is two switches for one message,
 * however cheap the message is. With SCHED_BATCH who is woken waits until the other sleeps, or
 * has used up its time: all channels switch when they are full or empty.
 */
static void set_policy(int policy)
{
	struct sched_param param = { 0 };

	if (sched_setscheduler(0, policy, &param))
		die("sched_setscheduler: %s", strerror(errno));
}

/* A process of its own; it ends when this one does, and has its policy. */
static pid_t start(void (*work)(const struct channel *channel, struct ends ends, size_t size,
				int index),
		   const struct channel *channel, struct ends ends, size_t size, int index, int cpu)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_on(cpu);
		work(channel, ends, size, index);
		_exit(0);
	}
	return pid;
}

static void write_for_ever(const struct channel *channel, struct ends ends, size_t size, int index)
{
	static char data[BENCH_SIZE_MAX];

	(void)index;
	for (;;)
		send_one(channel, ends.in, data, size);
}

static void poll_and_write(const struct channel *channel, struct ends ends, size_t size, int index)
{
	static char data[BENCH_SIZE_MAX];

	(void)index;
	for (;;) {
		wait_for(ends.in, POLLOUT);
		send_one(channel, ends.in, data, size);
	}
}

static uint64_t all_received(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < CROWD; i++)
		sum += __atomic_load_n(&shared->received[i].messages, __ATOMIC_RELAXED);
	return sum;
}

static void receive_and_count(const struct channel *channel, int fd, size_t size, int index)
{
	static char data[BENCH_SIZE_MAX];

	receive_one(channel, fd, data, size);
	__atomic_store_n(&shared->received[index].messages, shared->received[index].messages + 1,
			 __ATOMIC_RELAXED);
}

static void read_for_ever(const struct channel *channel, struct ends ends, size_t size, int index)
{
	for (;;)
		receive_and_count(channel, ends.out, size, index);
}

static void read_some(const struct channel *channel, int fd, size_t size, bool polls,
		      int count)
{
	while (count--) {
		if (polls)
			wait_for(fd, POLLIN);
		receive_and_count(channel, fd, size, 0);
	}
}

/*
 * The first reader keeps the books: what all of them received while it received so many. No
 * median of rounds: writers and readers take turns, and a round can fall into one of these.
 */
static void read_and_measure(const struct channel *channel, int fd, size_t size, bool polls)
{
	uint64_t before, begin;

	read_some(channel, fd, size, polls, WARM_UP * ROUND);
	before = all_received();
	begin = now();
	read_some(channel, fd, size, polls, 100 * ROUND / shared->readers);
	shared->per_message = (double)(now() - begin) / (all_received() - before);
}

static void read_first(const struct channel *channel, struct ends ends, size_t size, int index)
{
	(void)index;
	read_and_measure(channel, ends.out, size, false);
}

static void poll_and_read_first(const struct channel *channel, struct ends ends, size_t size,
				int index)
{
	(void)index;
	read_and_measure(channel, ends.out, size, true);
}

static void end(pid_t pid, int signal)
{
	int status;

	if (signal)
		kill(pid, signal);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid: %s", strerror(errno));
	if (!signal && status)
		die("a process ended with %#x", status);
}

/* So many writers and readers; the first reader says when it is over. */
static double run_crowd(const struct channel *channel, size_t size, int count, bool polls)
{
	struct ends ends = channel->open(0, CAPACITY, size);
	pid_t writers[CROWD], readers[CROWD];

	memset(shared, 0, sizeof(*shared));
	shared->readers = count;
	fflush(stdout);
	for (int i = 1; i < count; i++)
		readers[i] = start(read_for_ever, channel, ends, size, i, i + 1);
	readers[0] = start(polls ? poll_and_read_first : read_first, channel, ends, size, 0, 1);
	for (int i = 0; i < count; i++)
		writers[i] = start(polls ? poll_and_write : write_for_ever, channel, ends, size,
				   i, i);

	end(readers[0], 0);
	for (int i = 0; i < count; i++)
		end(writers[i], SIGKILL);
	for (int i = 1; i < count; i++)
		end(readers[i], SIGKILL);
	close_ends(ends);
	return shared->per_message;
}

static double run_pair(const struct channel *channel, size_t size, unsigned int depth)
{
	(void)depth;
	return run_crowd(channel, size, 1, false);
}

/* As run_pair(), by the policy that programs have unless they ask for another. */
static double run_preempted(const struct channel *channel, size_t size, unsigned int depth)
{
	double result;

	(void)depth;
	set_policy(SCHED_OTHER);
	result = run_crowd(channel, size, 1, false);
	set_policy(SCHED_BATCH);
	return result;
}

static double run_many(const struct channel *channel, size_t size, unsigned int depth)
{
	(void)depth;
	return run_crowd(channel, size, CROWD, false);
}

static double run_poll(const struct channel *channel, size_t size, unsigned int depth)
{
	(void)depth;
	return run_crowd(channel, size, 1, true);
}

/* Reads from one channel and writes to another, for ever. */
static void answer(const struct channel *channel, struct ends ends, size_t size, int index)
{
	static char data[BENCH_SIZE_MAX];

	(void)index;
	for (;;) {
		receive_one(channel, ends.out, data, size);
		send_one(channel, ends.in, data, size);
	}
}

/* A message there and one back, through two channels: each of them has to wake somebody. */
static double run_round_trip(const struct channel *channel, size_t size, unsigned int depth)
{
	struct ends there = channel->open(0, CAPACITY, size);
	struct ends back = channel->open(1, CAPACITY, size);
	struct ends here = { .in = there.in, .out = back.out };
	struct ends other = { .in = back.in, .out = there.out };
	pid_t pid;
	double result;

	(void)depth;
	fflush(stdout);
	pid = start(answer, channel, other, size, 0, 1);
	result = thread_rounds(channel, here, size);
	end(pid, SIGKILL);
	close_ends(there);
	close_ends(back);
	return result;
}

/* As run_thread(), but BATCH messages a system call in each direction. */
static double run_batch(const struct channel *channel, size_t size, unsigned int depth)
{
	struct ends ends = channel->open(0, CAPACITY, size);
	static struct kmsgpipe_entry entries[BATCH];
	static char data[BATCH][BENCH_SIZE_MAX];
	struct kmsgpipe_batch batch = {
		.size = sizeof(batch), .count = BATCH, .entries = (uintptr_t)entries,
	};
	double rounds[ROUNDS];

	(void)depth;
	for (int i = 0; i < BATCH; i++) {
		entries[i].buf = (uintptr_t)data[i];
		entries[i].size = size;
	}
	for (int round = -WARM_UP; round < ROUNDS; round++) {
		uint64_t start = now();

		for (int i = 0; i < ROUND / BATCH; i++)
			if (ioctl(ends.in, KMSGPIPE_SEND_BATCH, &batch) != BATCH ||
			    ioctl(ends.out, KMSGPIPE_RECV_BATCH, &batch) != BATCH)
				die("a batch: %s", strerror(errno));
		if (round >= 0)
			rounds[round] = (double)(now() - start) / ROUND;
	}
	close_ends(ends);
	return median(rounds, ROUNDS);
}

/* The allocator keeps what was freed for whoever comes next: let it give that back first. */
static void shrink_caches(void)
{
	glob_t files;

	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &files))
		die("/sys/kernel/slab: no caches");
	for (size_t i = 0; i < files.gl_pathc; i++) {
		int fd = open(files.gl_pathv[i], O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "1", 1) != 1)
			die("%s: %s", files.gl_pathv[i], strerror(errno));
		close(fd);
	}
	globfree(&files);
}

/* Each CPU keeps pages for the next one who needs some; they are not among the free ones. */
static unsigned long kept_pages(void)
{
	FILE *file = fopen("/proc/zoneinfo", "r");
	unsigned long pages, sum = 0;
	char line[256];

	if (!file)
		die("/proc/zoneinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, " count: %lu", &pages) == 1)
			sum += pages;
	fclose(file);
	return sum;
}

static unsigned long free_memory(void)
{
	/* Each CPU also keeps count of its own for a while: reading this adds all of it up. */
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY | O_CLOEXEC);
	struct sysinfo info;
	char unused;

	if (fd < 0 || read(fd, &unused, 1) < 0)
		die("/proc/sys/vm/stat_refresh: %s", strerror(errno));
	close(fd);
	if (sysinfo(&info))
		die("sysinfo: %s", strerror(errno));
	return info.freeram * info.mem_unit + kept_pages() * sysconf(_SC_PAGESIZE);
}

/* What a queued message takes of the machine's memory, with all that is lost around it. */
static double run_memory(const struct channel *channel, size_t size, unsigned int depth)
{
	struct ends ends = channel->open(0, depth, size);
	static char data[BENCH_SIZE_MAX];
	unsigned long before;
	double result;

	shrink_caches();
	before = free_memory();
	for (unsigned int i = 0; i < depth; i++)
		send_one(channel, ends.in, data, size);
	result = (double)(before - free_memory()) / depth;
	/* What comes next is not to begin with so many. */
	for (unsigned int i = 0; i < depth; i++)
		receive_one(channel, ends.out, data, size);
	close_ends(ends);
	return result;
}

/* -- the longest wait while many messages go ------------------------------------------- */

#define WAITS 4000

#define PREEMPTION "/sys/kernel/debug/sched/preempt"

/*
 * A kernel that takes the CPU away from others only where they offer it, as distributions have
 * it set, shows no wait for a lock on one CPU: whoever holds it goes on until it is free.
 * From here on it takes the CPU away anywhere. The patterns that need it come last.
 */
static void preempt_anywhere(void)
{
	int fd = open(PREEMPTION, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "full", 4) != 4)
		die("%s: %s", PREEMPTION, strerror(errno));
	close(fd);
}

/*
 * The longest time that a write() and a read() of a process take which goes before all others
 * (SCHED_FIFO). If it does not come at once, it waits for who has the lock, and for nobody
 * else. It comes at odd distances, so that it falls into every part of what goes on.
 */
static double longest_wait(int fd, size_t size)
{
	struct sched_param before_others = { .sched_priority = 1 };
	static char data[BENCH_SIZE_MAX];
	uint64_t longest = 0, odd = 1;

	if (sched_setscheduler(0, SCHED_FIFO, &before_others))
		die("sched_setscheduler: %s", strerror(errno));
	for (int i = 0; i < WAITS; i++) {
		struct timespec pause = { .tv_nsec = 5000 };
		uint64_t start, took;

		odd = odd * 6364136223846793005ull + 1442695040888963407ull;
		pause.tv_nsec += odd >> 50;
		nanosleep(&pause, NULL);
		start = now();
		if (write(fd, data, size) != (ssize_t)size || read(fd, data, size) < 0)
			die("kmsgpipe: %s", strerror(errno));
		took = now() - start;
		if (took > longest)
			longest = took;
	}
	set_policy(SCHED_BATCH);
	return longest;
}

static struct kmsgpipe_stats stats_of(int fd)
{
	struct kmsgpipe_stats stats;

	if (ioctl(fd, KMSGPIPE_GET_STATS, &stats))
		die("KMSGPIPE_GET_STATS: %s", strerror(errno));
	return stats;
}

static void set_cleanup(int fd, unsigned int interval_ms, unsigned int ttl_ms)
{
	struct kmsgpipe_cleanup cleanup = { .interval_ms = interval_ms, .ttl_ms = ttl_ms };

	if (ioctl(fd, KMSGPIPE_SET_CLEANUP, &cleanup))
		die("KMSGPIPE_SET_CLEANUP: %s", strerror(errno));
}

/* A queue of so many messages, and room for one more: the one that is on its way. */
static struct ends filled(const struct channel *channel, size_t size, unsigned int depth)
{
	struct ends ends = channel->open(0, depth, size);
	static char data[BENCH_SIZE_MAX];

	for (unsigned int i = 1; i < depth; i++)
		send_one(channel, ends.in, data, size);
	return ends;
}

/* Nobody else has the lock. */
static double run_undisturbed(const struct channel *channel, size_t size, unsigned int depth)
{
	struct ends ends = filled(channel, size, depth);
	double result;

	preempt_anywhere();
	result = longest_wait(ends.in, size);
	close_ends(ends);
	return result;
}

static double run_expire(const struct channel *channel, size_t size, unsigned int depth)
{
	struct ends ends = channel->open(0, depth, size);
	struct kmsgpipe_stats before;
	double result;

	set_cleanup(ends.in, 0, 1);
	close_ends(ends);
	ends = filled(channel, size, depth);
	before = stats_of(ends.in);
	preempt_anywhere();
	set_cleanup(ends.in, 1, 1);
	result = longest_wait(ends.in, size);
	if (stats_of(ends.in).expired - before.expired < depth / 4)
		die("only %llu of %u messages expired meanwhile", (unsigned long long)
		    (stats_of(ends.in).expired - before.expired), depth);
	set_cleanup(ends.in, 1000, 30000);
	close_ends(ends);
	return result;
}

static void clear(const struct channel *channel, struct ends ends, size_t size, int index)
{
	(void)channel;
	(void)size;
	(void)index;
	if (ioctl(ends.in, KMSGPIPE_CLEAR_QUEUE) < 0)
		die("KMSGPIPE_CLEAR_QUEUE: %s", strerror(errno));
}

static double run_clear(const struct channel *channel, size_t size, unsigned int depth)
{
	struct ends ends = filled(channel, size, depth);
	struct kmsgpipe_stats before = stats_of(ends.in);
	double result;
	pid_t pid;

	preempt_anywhere();
	fflush(stdout);
	pid = start(clear, channel, ends, size, 0, 0);
	result = longest_wait(ends.in, size);
	end(pid, 0);
	if (stats_of(ends.in).cleared - before.cleared < depth / 4)
		die("too few messages were cleared meanwhile");
	close_ends(ends);
	return result;
}

#define ALL_SIZES	{ 16, 64, 256, 1024, 4096 }

/**
 * struct pattern - a way to use a channel
 * @name: what the tables call it
 * @run: measures it
 * @sizes: of its messages, up to a 0
 * @depths: messages in the queue meanwhile, up to a 0; none: as many as there happen to be
 * @on_wall: measured in wall mode, too, for two of the sizes: minutes, not an hour
 * @ours: of our driver only: nobody else can do it
 */
static const struct pattern {
	const char *name;
	double (*run)(const struct channel *channel, size_t size, unsigned int depth);
	size_t sizes[6];
	unsigned int depths[6];
	bool on_wall;
	bool ours;
} patterns[] = {
	{ .name = "thread", .run = run_thread, .sizes = ALL_SIZES, .on_wall = true },
	{ .name = "pair", .run = run_pair, .sizes = ALL_SIZES, .on_wall = true },
	{ .name = "preempted", .run = run_preempted, .sizes = ALL_SIZES },
	{ .name = "crowd", .run = run_many, .sizes = ALL_SIZES, .on_wall = true },
	{ .name = "round-trip", .run = run_round_trip, .sizes = ALL_SIZES, .on_wall = true },
	{ .name = "poll", .run = run_poll, .sizes = ALL_SIZES, .on_wall = true },
	{ .name = "batch", .run = run_batch, .sizes = ALL_SIZES, .on_wall = true, .ours = true },
	{ .name = "depth", .run = run_thread, .sizes = { 64 },
	  .depths = { 10, 100, 1000, 10000, 65536 } },
	{ .name = "memory", .run = run_memory, .sizes = { 64 }, .depths = { 65536 } },
	{ .name = "wait", .run = run_undisturbed, .sizes = { 64 },
	  .depths = { 1000, 10000, 65536 }, .ours = true },
	{ .name = "wait-expire", .run = run_expire, .sizes = { 64 },
	  .depths = { 1000, 10000, 65536 }, .ours = true },
	{ .name = "wait-clear", .run = run_clear, .sizes = { 64 },
	  .depths = { 1000, 10000, 65536 }, .ours = true },
};

/* True if the command line names no cell, or this one: thread, thread/pipe, thread/pipe/64. */
static bool wanted(char **cells, const char *cell)
{
	if (!*cells)
		return true;
	for (; *cells; cells++) {
		size_t len = strlen(*cells);

		if (!strncmp(cell, *cells, len) && (!cell[len] || cell[len] == '/'))
			return true;
	}
	return false;
}

static void run_cell(const struct pattern *pattern, size_t size, unsigned int depth, char **cells)
{
	int repetitions = wall ? REPETITIONS : 1;
	double results[16][REPETITIONS];
	bool has[16];

	for (size_t c = 0; c < channel_count; c++) {
		char cell[64];

		snprintf(cell, sizeof(cell), "%s/%s/%zu", pattern->name, channels[c].name, size);
		has[c] = wanted(cells, cell) && depth <= channels[c].deepest &&
			 (channels[c].moves || pattern->run == run_thread) &&
			 (channels[c].ours || !pattern->ours);
	}
	for (int i = 0; i < repetitions; i++)
		for (size_t c = 0; c < channel_count; c++)
			if (has[c])
				results[c][i] = pattern->run(&channels[c], size, depth);
	for (size_t c = 0; c < channel_count; c++) {
		if (!has[c])
			continue;
		printf("figure %s %s %zu %u", pattern->name, channels[c].name, size, depth);
		for (int i = 0; i < repetitions; i++)
			printf(" %.1f", results[c][i]);
		printf("\n");
		fflush(stdout);
	}
}

static void run_pattern(const struct pattern *pattern, char **cells)
{
	for (const size_t *size = pattern->sizes; *size; size++) {
		const unsigned int *depth = pattern->depths;

		if (wall && !(pattern->on_wall && (*size == 64 || *size == 1024)))
			continue;
		do
			run_cell(pattern, *size, *depth, cells);
		while (*depth && *++depth);
	}
}

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, "nr_devices=2", 0) && errno != EEXIST))
		die("%s: %s", path, strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: kmsgpipe-bench instructions|wall MODULE [CELL...]");
	wall = !strcmp(argv[1], "wall");
	if (!wall)
		check_counter();
	load(argv[2]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	run_on(0);
	set_policy(SCHED_BATCH);
	for (size_t p = 0; p < sizeof(patterns) / sizeof(patterns[0]); p++)
		run_pattern(&patterns[p], argv + 3);
	printf("done\n");
	return 0;
}
