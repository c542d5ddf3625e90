// SPDX-License-Identifier: GPL-2.0
/* Messages that wait too long: the timer, the work, and how they end. Lab 5 and later. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "module.h"
#include "privilege.h"
#include "slow.h"

/* Small enough for a quick test, large enough to see a message that expires too early. */
#define TTL_MS		60
#define QUICK		"cleanup_interval_ms=4 ttl_ms=60"
/* What is older than this is gone at the next look. */
#define AT_ONCE		"cleanup_interval_ms=4 ttl_ms=1"
#define NEVER		"cleanup_interval_ms=4 ttl_ms=0"

/* Long enough for anything that comes at all, shorter than a test's time-out. */
#define LONGEST_MS 3000

/* An exit function that lets the queued work run first has to wait so long for its CPU. */
#define MOST_KEPT_MS 1000

/*
 * So that a few calls take less than ttl_ms: @ms, and more where the machine is slow. Should they
 * take longer all the same, a wrong driver may get through. A right one fails in no case.
 */
static int time_for_calls(int ms)
{
	double scale = time_scale() / 4;

	return ms * (scale > 1 ? scale : 1);
}

static int set_cleanup(int fd, uint32_t interval_ms, uint32_t ttl_ms)
{
	struct kmsgpipe_cleanup cleanup = { .interval_ms = interval_ms, .ttl_ms = ttl_ms };

	return ioctl(fd, KMSGPIPE_SET_CLEANUP, &cleanup);
}

static void expect_cleanup(int fd, uint32_t interval_ms, uint32_t ttl_ms)
{
	struct kmsgpipe_cleanup cleanup;
	char wanted[64];

	memset(&cleanup, 0xa5, sizeof(cleanup));
	expect_value(ioctl(fd, KMSGPIPE_GET_CLEANUP, &cleanup), 0);
	snprintf(wanted, sizeof(wanted), "interval_ms %u, ttl_ms %u, reserved 0", interval_ms,
		 ttl_ms);
	expect(cleanup.interval_ms == interval_ms && cleanup.ttl_ms == ttl_ms &&
	       !cleanup.reserved[0] && !cleanup.reserved[1], "GET_CLEANUP", wanted,
	       "interval_ms %u, ttl_ms %u, reserved %#x %#x", cleanup.interval_ms, cleanup.ttl_ms,
	       cleanup.reserved[0], cleanup.reserved[1]);
}

static void expect_counts(int fd, unsigned int expired, unsigned int queued)
{
	struct kmsgpipe_stats stats = device_stats(fd);
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "expired %u, queued %u", expired, queued);
	expect(stats.expired == expired && stats.queued == queued, "GET_STATS", wanted,
	       "expired %llu, queued %u", (unsigned long long)stats.expired, stats.queued);
	expect(stats.written == stats.read + stats.cleared + stats.expired + stats.queued,
	       "GET_STATS", "written = read + cleared + expired + queued",
	       "%llu written, %llu read, %llu cleared, %llu expired, %u queued",
	       (unsigned long long)stats.written, (unsigned long long)stats.read,
	       (unsigned long long)stats.cleared, (unsigned long long)stats.expired, stats.queued);
}

/* Until so many milliseconds have passed: for what must NOT happen meanwhile. */
static void let_pass(int ms)
{
	long long end = now_ms() + ms;

	while (now_ms() < end && wait_a_moment())
		;
}

/* -- what expires ------------------------------------------------------------------- */

SOLO(old_messages_expire,
     .says = "messages that nobody reads for ttl_ms are dropped", .page = "lab5.md#ttl",
     .stages = FROM_STAGE(5), .params = QUICK)
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 5);
	wait_expired(fd, 5);
	expect_counts(fd, 5, 0);
	device_expect_empty(fd);
	device_send_text(fd, "the queue works on");
	device_expect_text(fd, "the queue works on");
}

SOLO(no_message_expires_early,
     .says = "no message expires before ttl_ms have passed", .page = "lab5.md#ttl",
     .stages = FROM_STAGE(5), .params = QUICK)
{
	int fd = device_open(O_RDWR);

	for (int i = 0; i < 3; i++) {
		long long start = now_ms(), took;

		device_send_text(fd, "young");
		wait_expired(fd, i + 1);
		took = now_ms() - start;
		/* One less: both readings of the clock are rounded down. */
		expect(took >= TTL_MS - 1, "write(), then waiting until it has expired",
		       "60 ms or more", "%lld ms", took);
	}
}

/* So many that no driver drops them under one hold of the lock. */
#define MANY 300

/* MANY old messages and five fresh ones; false if the machine was too slow to keep them fresh. */
static bool mix_old_and_fresh(int fd, int ttl_ms)
{
	unsigned int before = device_stats(fd).expired;
	long long start;

	expect_value(set_cleanup(fd, 4, 0), 0);
	device_send_numbers(fd, 0, MANY);
	let_pass(ttl_ms + 20);
	start = now_ms();
	device_send_numbers(fd, MANY, 5);
	expect_value(set_cleanup(fd, 4, ttl_ms), 0);
	wait_expired(fd, before + MANY);
	expect_value(set_cleanup(fd, 4, 0), 0);
	if (now_ms() - start >= ttl_ms)
		return false;
	expect_counts(fd, before + MANY, 5);
	return true;
}

SOLO(only_the_expired_go,
     .says = "fresh messages stay, in their order, when old ones expire", .page = "lab5.md#ttl",
     .stages = FROM_STAGE(5), .as_root = true,
     .params = "cleanup_interval_ms=4 ttl_ms=0 max_msgs=400")
{
	int fd = device_open(O_RDWR), ttl_ms = time_for_calls(50);

	while (!mix_old_and_fresh(fd, ttl_ms)) {
		expect(wait_a_moment(), "five messages, and 300 that are older than ttl_ms",
		       "a chance to look before all are older", "none in all this time");
		expect(ioctl(fd, KMSGPIPE_CLEAR_QUEUE) >= 0, "CLEAR_QUEUE", "0 or more", "%s",
		       result(-1));
		ttl_ms *= 2;
	}
	device_expect_numbers(fd, MANY, 5);
	device_expect_empty(fd);
}

SOLO(one_look_takes_all_expired,
     .says = "one look drops all that has expired, be it thousands", .page = "lab5.md#batches",
     .stages = FROM_STAGE(5), .as_root = true,
     .params = "cleanup_interval_ms=0 ttl_ms=0 max_msgs=3000")
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 3000);
	let_pass(5);
	expect_value(set_cleanup(fd, 4, 1), 0);
	wait_expired(fd, 1);
	/* No further look: what the one that has begun leaves stays for ever. */
	expect_value(set_cleanup(fd, 0, 1), 0);
	wait_expired(fd, 3000);
	expect_counts(fd, 3000, 0);
}

static void send_many(int fd, int count)
{
	for (int i = 0; i < count; i++)
		expect_value(write(fd, "many", 4), 4);
}

/* So many that who goes through them is met on the way; fewer where each step takes longer. */
static int many_to_walk(void)
{
	int fewer = rounds(20000);

	return fewer < 4000 ? fewer : 4000;
}

/*
 * Drops 3000 messages; true if meanwhile somebody else got at the queue.
 *
 * The timer goes off on the CPU that has set it, and its work runs there. We look from the
 * other one: on the same CPU the work would be over before our turn comes.
 */
static bool got_in_between(int fd)
{
	unsigned long long before, gone;
	long long start;

	run_on_cpu(1);
	/* What is left of the last round may still be on its way out: nothing of it counts. */
	expect_value(set_cleanup(fd, 0, 0), 0);
	expect(ioctl(fd, KMSGPIPE_CLEAR_QUEUE) >= 0, "CLEAR_QUEUE", "0 or more", "%s", result(-1));
	before = device_stats(fd).expired;
	send_many(fd, 3000);
	let_pass(5);
	expect_value(set_cleanup(fd, 1, 1), 0);
	run_on_cpu(0);
	start = now_ms();
	/* No pause in here: it could be longer than all that expires takes. */
	do {
		expect_value(write(fd, "more", 4), 4);
		gone = device_stats(fd).expired - before;
	} while (!gone && now_ms() - start < LONGEST_MS * time_scale());
	expect_value(set_cleanup(fd, 4, 1), 0);
	wait_expired(fd, before + 3000);
	return gone && gone < 3000;
}

TEST(others_get_in_while_thousands_expire,
     .says = "while thousands of messages expire, others get at the queue in between",
     .page = "lab5.md#batches", .stages = FROM_STAGE(5), .as_root = true,
     .params = "cleanup_interval_ms=0 ttl_ms=0 max_msgs=65536")
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	/* The machine may have been busy elsewhere just then: once is enough. */
	while (!got_in_between(fd))
		expect(wait_a_moment(), "write(), GET_STATS while 3000 messages expire",
		       "some of it happens when a part of them is gone",
		       "each time none of them was gone, or all: the lock was held throughout");
}

SOLO(messages_read_in_time_do_not_expire,
     .says = "a message that is read in time counts as read, not as expired",
     .page = "lab5.md#ttl", .stages = FROM_STAGE(5))
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 3);
	device_expect_numbers(fd, 0, 3);
	expect_counts(fd, 0, 0);
	expect_value(device_stats(fd).read, 3);
}

static void send_and_wait(int round)
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 60);
	wait_expired(fd, 60 * (round + 1));
	close(fd);
}

SOLO(the_expired_are_freed,
     .says = "what expires is freed", .page = "lab5.md#work", .stages = FROM_STAGE(5),
     .as_root = true, .params = AT_ONCE, .seconds = 10)
{
	long growth = slab_growth(send_and_wait, 5, rounds(30));

	expect(growth < SLAB_NOISE, "60 messages expired, again and again", "every byte is freed",
	       "%ld more objects in use", growth);
}

SOLO(expiring_message_stays_with_its_reader,
     .says = "a message that expires while a reader copies it still reaches that reader",
     .page = "lab5.md#work", .stages = FROM_STAGE(5), .as_root = true, .params = NEVER)
{
	int fd = device_open(O_RDWR);
	struct caller *slow;

	device_send_numbers(fd, 0, 3);
	slow = start_slow_reader(fd, KMSGPIPE_MSG_SIZE);
	wait_asleep(slow);
	expect_value(set_cleanup(fd, 4, 1), 0);
	wait_expired(fd, 2);
	let_pass(20);
	expect_counts(fd, 2, 1);
	let_go();
	wait_returned(slow, 9, "it gets the whole message");
	expect(!memcmp(slow->data, "message 0", 9), slow->doing, "\"message 0\"", "\"%.9s\"",
	       slow->data);
	expect_counts(fd, 2, 0);
}

SOLO(expiry_goes_on_after_a_reader_that_failed,
     .says = "if that reader fails, the message is back and expires like any other",
     .page = "lab5.md#work", .stages = FROM_STAGE(5), .as_root = true, .params = NEVER)
{
	int fd = device_open(O_RDWR);
	struct caller *slow;

	device_send_numbers(fd, 0, 2);
	slow = start_slow_reader(fd, KMSGPIPE_MSG_SIZE);
	wait_asleep(slow);
	expect_value(set_cleanup(fd, 4, 1), 0);
	wait_expired(fd, 1);
	kill_and_reap(slow);
	wait_expired(fd, 2);
	expect_counts(fd, 2, 0);
}

SOLO(time_is_monotonic,
     .says = "setting the clock of the day makes no message old, nor keeps one young",
     .page = "lab5.md#ttl", .stages = FROM_STAGE(5), .as_root = true,
     .params = "cleanup_interval_ms=4 ttl_ms=100000")
{
	struct timespec day, then;
	long long start = now_ms();
	int fd = device_open(O_RDWR);

	device_send_text(fd, "young");
	expect_value(clock_gettime(CLOCK_REALTIME, &day), 0);
	then = day;
	then.tv_sec += 86400;
	expect_value(clock_settime(CLOCK_REALTIME, &then), 0);
	let_pass(30);
	/* Right again before anything can fail: other tests come after this one. */
	clock_settime(CLOCK_REALTIME, &day);
	device_expect_text(fd, "young");

	/* A day back: by that clock this message was written tomorrow. */
	then.tv_sec -= 2 * 86400;
	expect_value(set_cleanup(fd, 4, 20), 0);
	device_send_text(fd, "old soon");
	clock_settime(CLOCK_REALTIME, &then);
	while (!device_stats(fd).expired && now_ms() - start < LONGEST_MS * time_scale())
		wait_a_moment();
	clock_settime(CLOCK_REALTIME, &day);
	wait_expired(fd, 1);
}

/*
 * Times that are small, or negative, for a driver that counts nanoseconds, microseconds or
 * jiffies in 32 bits: 4295 ms are 32704 ns then.
 */
static const uint32_t long_ttls[] = { 2148, 4295, 2147484, 4294968, KMSGPIPE_CLEANUP_MS_MAX };

SOLO(long_times_are_not_cut_off,
     .says = "a long ttl_ms is as long as it says, up to a day", .page = "lab5.md#ttl",
     .stages = FROM_STAGE(5), .as_root = true, .params = NEVER)
{
	int fd = device_open(O_RDWR);

	for (size_t i = 0; i < sizeof(long_ttls) / sizeof(long_ttls[0]); i++) {
		unsigned long long before = device_stats(fd).expired, expired;
		long long start = now_ms();
		char did[64];

		expect_value(set_cleanup(fd, 4, long_ttls[i]), 0);
		device_send_text(fd, "young");
		let_pass(16);
		expired = device_stats(fd).expired;
		snprintf(did, sizeof(did), "16 ms with ttl_ms=%u", long_ttls[i]);
		/* On a machine that stood still for two seconds the first may be old by now. */
		expect(expired == before || now_ms() - start >= long_ttls[i], did,
		       "the message is still there", "it has expired");
	}
}

SOLO(time_asleep_for_room_does_not_count,
     .says = "a message gets old in the queue, not while its writer waits for room",
     .page = "lab5.md#ttl", .stages = FROM_STAGE(5), .as_root = true,
     .params = "max_msgs=1 cleanup_interval_ms=4 ttl_ms=0")
{
	int ttl_ms = time_for_calls(TTL_MS);
	int fd = device_open(O_RDWR);
	struct caller *writer;
	long long start, took;

	device_send_text(fd, "full");
	writer = start_writer(fd, "late");
	wait_asleep(writer);
	let_pass(ttl_ms + 10);
	start = now_ms();
	/* What is there is older than that and goes; then the writer has its turn. */
	expect_value(set_cleanup(fd, 4, ttl_ms), 0);
	wait_returned(writer, 4, "expired messages leave room for it");
	wait_expired(fd, 2);
	took = now_ms() - start;
	test_note("ttl_ms is %d here.", ttl_ms);
	expect(took >= ttl_ms - 1, "a write() that waited for room, then waiting until it expired",
	       "ttl_ms or more", "%lld ms", took);
}

/* -- who waits ---------------------------------------------------------------------- */

SOLO(expiry_wakes_writers,
     .says = "writers that wait for room go on when messages expire", .page = "lab5.md#writers",
     .stages = FROM_STAGE(5), .as_root = true,
     .params = "max_msgs=3 cleanup_interval_ms=4 ttl_ms=0")
{
	int fd = device_open(O_RDWR);
	int ttl_ms = time_for_calls(50);
	struct caller *writers[3];

	device_send_numbers(fd, 0, 3);
	for (int i = 0; i < 3; i++)
		writers[i] = start_writer(fd, "late");
	for (int i = 0; i < 3; i++)
		wait_asleep(writers[i]);
	let_pass(ttl_ms + 10);
	expect_value(set_cleanup(fd, 4, ttl_ms), 0);
	wait_expired(fd, 3);
	/* One look has to wake all three: their own messages must not make room in turn. */
	expect_value(set_cleanup(fd, 0, 0), 0);
	for (int i = 0; i < 3; i++)
		wait_returned(writers[i], 4, "expired messages leave room for it");
}

SOLO(expiry_makes_poll_say_out,
     .says = "a process asleep in poll() for room wakes when messages expire",
     .page = "lab5.md#writers", .stages = FROM_STAGE(5), .as_root = true,
     .params = "max_msgs=1 cleanup_interval_ms=4 ttl_ms=0")
{
	int fd = device_open(O_RDWR);
	struct caller *poller;

	device_send_text(fd, "full");
	poller = start_poller(fd, POLLOUT);
	wait_asleep(poller);
	expect_value(set_cleanup(fd, 4, 1), 0);
	wait_returned(poller, POLLOUT, "expired messages leave room");
}

static long call_epoll(struct caller *self)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event))
		return -1;
	return epoll_wait(epoll, &event, 1, -1) == 1 ? (long)event.events : -1;
}

SOLO(expiry_wakes_edge_triggered_epoll,
     .says = "edge-triggered epoll reports the room that expired messages leave",
     .page = "lab5.md#writers", .stages = FROM_STAGE(5), .as_root = true,
     .params = "max_msgs=1 cleanup_interval_ms=4 ttl_ms=0")
{
	int fd = device_open(O_RDWR);
	struct caller *poller;

	device_send_text(fd, "full");
	poller = start_caller(fd, "epoll_wait()", call_epoll);
	wait_asleep(poller);
	expect_value(set_cleanup(fd, 4, 1), 0);
	wait_returned(poller, EPOLLOUT, "expired messages leave room");
}

SOLO(expiry_lets_readers_sleep,
     .says = "a reader sleeps on while messages of others expire", .page = "lab5.md#writers",
     .stages = FROM_STAGE(5), .as_root = true, .params = AT_ONCE)
{
	int fd = device_open(O_RDWR);
	struct caller *reader;

	device_send_text(fd, "gone before it comes");
	wait_expired(fd, 1);
	reader = start_reader(fd, 64);
	wait_asleep(reader);
	let_pass(20);
	expect(!reader->done, "read() of a queue in which all has expired", "it sleeps",
	       "it returned %ld", reader->ret);
	/* The reader may be slow: what it is to get must not expire before it runs. */
	expect_value(set_cleanup(fd, 4, 0), 0);
	device_send_text(fd, "next");
	wait_returned(reader, 4, "a message came");
}

/* -- the settings ------------------------------------------------------------------- */

SOLO(cleanup_defaults, .both_widths = true,
     .says = "at first a message may wait 30 s, and a look comes every second",
     .page = "lab5.md#cleanup-ioctl", .stages = FROM_STAGE(5))
{
	expect_cleanup(device_open(O_RDONLY), KMSGPIPE_INTERVAL_MS, KMSGPIPE_TTL_MS);
}

SOLO(cleanup_parameters_are_checked,
     .says = "ttl_ms and cleanup_interval_ms: 0 to a day; more is refused, the log says why",
     .page = "lab5.md#cleanup-ioctl", .stages = FROM_STAGE(5), .loads_itself = true,
     .as_root = true)
{
	static const struct {
		const char *params, *name;
	} refused[] = {
		{ "ttl_ms=86400001", "ttl_ms" },
		{ "ttl_ms=4294967295", "ttl_ms" },
		{ "cleanup_interval_ms=86400001", "cleanup_interval_ms" },
		{ "cleanup_interval_ms=4294967295", "cleanup_interval_ms" },
	};
	int fd;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		int before = log_lines_with(refused[i].name), ret;

		ret = module_load(refused[i].params);
		/* A parameter of type int: the kernel itself refuses what does not fit. */
		if (ret == -1 && errno == ERANGE)
			continue;
		expect(ret == -1 && errno == EINVAL, refused[i].params, "-1 (EINVAL)", "%s",
		       result(ret));
		expect(log_lines_with(refused[i].name) > before, refused[i].params,
		       "a line in the log names the parameter", "none");
	}
	expect_value(module_load("ttl_ms=86400000 cleanup_interval_ms=86400000"), 0);
	fd = device_open(O_RDONLY);
	expect_cleanup(fd, KMSGPIPE_CLEANUP_MS_MAX, KMSGPIPE_CLEANUP_MS_MAX);
	close(fd);
	expect_value(module_unload(), 0);
	expect_value(module_load("ttl_ms=0 cleanup_interval_ms=0"), 0);
	fd = device_open(O_RDONLY);
	expect_cleanup(fd, 0, 0);
	close(fd);
	expect_value(module_unload(), 0);
}

SOLO(cleanup_can_be_set, .both_widths = true,
     .says = "SET_CLEANUP sets what GET_CLEANUP tells, up to a day",
     .page = "lab5.md#cleanup-ioctl", .stages = FROM_STAGE(5), .as_root = true)
{
	struct kmsgpipe_cleanup cleanup = { .interval_ms = 7, .ttl_ms = 7 };
	int fd = device_open(O_RDWR);

	expect_value(set_cleanup(fd, 20, 30000), 0);
	expect_cleanup(fd, 20, 30000);
	expect_value(set_cleanup(fd, KMSGPIPE_CLEANUP_MS_MAX, KMSGPIPE_CLEANUP_MS_MAX), 0);
	expect_errno(set_cleanup(fd, KMSGPIPE_CLEANUP_MS_MAX + 1, 5), EINVAL);
	expect_errno(set_cleanup(fd, 5, KMSGPIPE_CLEANUP_MS_MAX + 1), EINVAL);
	expect_errno(set_cleanup(fd, UINT32_MAX, UINT32_MAX), EINVAL);
	for (int i = 0; i < 2; i++) {
		cleanup.reserved[i] = 1u << (i * 31);
		expect_errno(ioctl(fd, KMSGPIPE_SET_CLEANUP, &cleanup), EINVAL);
		cleanup.reserved[i] = 0;
	}
	expect_cleanup(fd, KMSGPIPE_CLEANUP_MS_MAX, KMSGPIPE_CLEANUP_MS_MAX);
}

SOLO(cleanup_pointers_get_efault, .both_widths = true,
     .says = "SET_CLEANUP and GET_CLEANUP with a bad pointer get EFAULT, nothing changes",
     .page = "lab5.md#cleanup-ioctl", .stages = FROM_STAGE(5), .as_root = true)
{
	size_t size = sizeof(struct kmsgpipe_cleanup);
	void *const bad[] = { NULL, (void *)(UINTPTR_MAX - 4095), partly_bad_buffer(size, 0, true),
			      partly_bad_buffer(size, 4, true) };
	int fd = device_open(O_RDWR);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		expect_errno(ioctl(fd, KMSGPIPE_SET_CLEANUP, bad[i]), EFAULT);
		expect_errno(ioctl(fd, KMSGPIPE_GET_CLEANUP, bad[i]), EFAULT);
	}
	expect_errno(ioctl(fd, KMSGPIPE_GET_CLEANUP, partly_bad_buffer(size, size, false)), EFAULT);
	expect_cleanup(fd, KMSGPIPE_INTERVAL_MS, KMSGPIPE_TTL_MS);
}

static enum who asker;

static long call_set(struct caller *self)
{
	become(asker);
	return set_cleanup(self->fd, 5, 5);
}

SOLO(cleanup_takes_the_capability,
     .says = "SET_CLEANUP without CAP_SYS_ADMIN gets EPERM, root or not",
     .page = "lab5.md#cleanup-ioctl", .stages = FROM_STAGE(5), .as_root = true)
{
	static const enum who without[] = { WHO_USER, WHO_WEAK_ROOT, WHO_NAMESPACE_ROOT };
	int fd = device_open(O_RDWR);

	for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
		struct caller *caller;

		asker = without[i];
		caller = start_caller(fd, who_says(asker), call_set);
		wait_done(caller, "a command never sleeps");
		errno = caller->error;
		expect(caller->ret == -1 && errno == EPERM, who_says(asker), "-1 (EPERM)", "%s",
		       result(caller->ret));
		expect_cleanup(fd, KMSGPIPE_INTERVAL_MS, KMSGPIPE_TTL_MS);
	}
}

SOLO(ttl_zero_keeps_messages,
     .says = "with ttl_ms=0 no message expires", .page = "lab5.md#ttl", .stages = FROM_STAGE(5),
     .params = NEVER)
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 3);
	let_pass(60);
	expect_counts(fd, 0, 3);
	device_expect_numbers(fd, 0, 3);
}

SOLO(interval_zero_never_looks,
     .says = "with cleanup_interval_ms=0 nobody looks: old messages can still be read",
     .page = "lab5.md#timer", .stages = FROM_STAGE(5),
     .params = "cleanup_interval_ms=0 ttl_ms=1")
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 3);
	let_pass(60);
	expect_counts(fd, 0, 3);
	device_expect_numbers(fd, 0, 3);
}

SOLO(interval_starts_from_zero,
     .says = "a new interval starts a timer that was off", .page = "lab5.md#timer",
     .stages = FROM_STAGE(5), .as_root = true, .params = "cleanup_interval_ms=0 ttl_ms=1")
{
	int fd = device_open(O_RDWR);

	device_send_text(fd, "old");
	expect_value(set_cleanup(fd, 4, 1), 0);
	wait_expired(fd, 1);
	device_send_text(fd, "again");
	wait_expired(fd, 2);
}

SOLO(shorter_interval_holds_at_once,
     .says = "a short interval after a long one does not wait for the long one to end",
     .page = "lab5.md#timer", .stages = FROM_STAGE(5), .as_root = true,
     .params = "cleanup_interval_ms=86400000 ttl_ms=1")
{
	int fd = device_open(O_RDWR);

	device_send_text(fd, "old");
	expect_value(set_cleanup(fd, 4, 1), 0);
	wait_expired(fd, 1);
}

TEST(interval_changes_while_the_timer_runs,
     .says = "after SET_CLEANUP with interval 0 nothing expires any more, whatever came before",
     .page = "lab5.md#timer", .stages = FROM_STAGE(5), .as_root = true, .params = AT_ONCE)
{
	int fd = device_open(O_RDWR);

	for (int round = 0; round < 12; round++) {
		struct kmsgpipe_stats stats;

		/* Hits the timer in all its phases. */
		for (int i = 0; i < 40; i++)
			expect_value(set_cleanup(fd, 1 + i % 3, 1), 0);
		expect_value(set_cleanup(fd, 0, 0), 0);
		device_send_text(fd, "stays");
		stats = device_stats(fd);
		expect_value(set_cleanup(fd, 0, 1), 0);
		let_pass(12);
		expect(device_stats(fd).expired == stats.expired,
		       "12 ms after SET_CLEANUP interval_ms=0", "nothing has expired", "%llu have",
		       (unsigned long long)(device_stats(fd).expired - stats.expired));
		device_expect_text(fd, "stays");
	}
}

/* Nobody else runs meanwhile, but interrupts do, and so the timer. */
static void busy(int ms)
{
	long long end = now_ms() + ms;

	while (now_ms() < end)
		;
}

SOLO(no_cleanup_is_left_over,
     .says = "a cleanup that the timer has ordered does not outlive SET_CLEANUP",
     .page = "lab5.md#timer", .stages = FROM_STAGE(5), .as_root = true, .params = AT_ONCE)
{
	static const uint32_t intervals[] = { 0, KMSGPIPE_CLEANUP_MS_MAX };
	int fd = device_open(O_RDWR);

	for (int round = 0; round < 6; round++) {
		unsigned long long before = device_stats(fd).expired, after;
		char did[64];

		snprintf(did, sizeof(did), "SET_CLEANUP interval_ms=%u, then write()",
			 intervals[round % 2]);
		/* The timer goes off; no kernel thread can do the work, as we have the CPU. */
		keep_the_cpu(true);
		busy(12);
		expect_value(set_cleanup(fd, intervals[round % 2], 1), 0);
		device_send_text(fd, "stays");
		busy(3);
		keep_the_cpu(false);
		let_pass(12);
		after = device_stats(fd).expired;
		expect(after == before, did, "nobody looks before the new interval is over",
		       "%llu expired: a work that was queued before ran after it",
		       after - before);
		device_expect_text(fd, "stays");
		expect_value(set_cleanup(fd, 4, 1), 0);
	}
}

static long call_change_often(struct caller *self)
{
	for (int i = 0; i < 60; i++)
		if (set_cleanup(self->fd, 1 + i % 3, 1))
			return -1;
	return 0;
}

TEST(racing_changes_end_with_the_last,
     .says = "two processes change the interval at once: what is set last holds, 0 included",
     .page = "lab5.md#timer", .stages = FROM_STAGE(5), .as_root = true, .params = AT_ONCE)
{
	int fd = device_open(O_RDWR);

	for (int round = 0; round < 12; round++) {
		struct caller *other = start_caller(fd, "SET_CLEANUP", call_change_often);
		unsigned long long before;

		for (int i = 0; i < 20; i++)
			expect_value(set_cleanup(fd, i % 3, 1), 0);
		wait_returned(other, 0, "each change is accepted");
		expect_value(set_cleanup(fd, 0, 0), 0);
		device_send_text(fd, "stays");
		before = device_stats(fd).expired;
		expect_cleanup(fd, 0, 0);
		expect_value(set_cleanup(fd, 0, 1), 0);
		let_pass(12);
		expect(device_stats(fd).expired == before,
		       "12 ms after the last SET_CLEANUP, interval_ms=0", "nothing has expired",
		       "%llu have", (unsigned long long)device_stats(fd).expired - before);
		device_expect_text(fd, "stays");
	}
}

SOLO(new_ttl_holds_for_queued_messages,
     .says = "a new ttl_ms holds for messages that are queued already", .page = "lab5.md#ttl",
     .stages = FROM_STAGE(5), .as_root = true,
     .params = "cleanup_interval_ms=4 ttl_ms=86400000")
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 2);
	let_pass(30);
	expect_value(set_cleanup(fd, 4, 86400000), 0);
	let_pass(10);
	expect_counts(fd, 0, 2);
	expect_value(set_cleanup(fd, 4, 10), 0);
	wait_expired(fd, 2);
}

/* -- the log ------------------------------------------------------------------------ */

/*
 * How many lines a message leaves that does not expire, written and followed by SET_CLEANUP.
 * The kernel may add one of its own at any time: the smaller one of two counts is ours.
 */
static int lines_without_expiry(int fd)
{
	int fewest = INT_MAX;

	for (int i = 0; i < 2; i++) {
		int before = log_lines_with(""), lines;

		device_send_text(fd, "young");
		expect_value(set_cleanup(fd, 4, 0), 0);
		lines = log_lines_with("") - before;
		if (lines < fewest)
			fewest = lines;
		device_expect_text(fd, "young");
	}
	return fewest;
}

/* By whatever words: pr_info(), dev_info() and printk() begin a line in different ways. */
SOLO(expiry_is_logged,
     .says = "the log tells when messages have expired, and is silent when none have",
     .page = "lab5.md#log", .stages = FROM_STAGE(5), .as_root = true, .params = AT_ONCE)
{
	int fd = device_open(O_RDWR), before, lines;

	before = log_lines_with("");
	let_pass(60);
	lines = log_lines_with("") - before;
	/* One or two may be the kernel's own, not one for each look. */
	expect(lines < 3, "15 looks at an empty queue", "no line in the log", "%d lines", lines);

	expect_value(set_cleanup(fd, 4, 0), 0);
	lines = lines_without_expiry(fd);
	before = log_lines_with("");
	device_send_text(fd, "old");
	expect_value(set_cleanup(fd, 4, 1), 0);
	while (log_lines_with("") - before <= lines && wait_a_moment())
		;
	expect(log_lines_with("") - before > lines, "a message expired", "a line in the log",
	       "none");
}

/* -- unloading ---------------------------------------------------------------------- */

/* How long a jiffy is: 4 ms on Debian's kernels. The coarse clocks advance by it. */
static long jiffy_ns(void)
{
	struct timespec jiffy;

	clock_getres(CLOCK_MONOTONIC_COARSE, &jiffy);
	return jiffy.tv_nsec;
}

static void unload_in_a_phase(int round)
{
	/* The timer goes off at every jiffy: two of them, in twenty steps, or each other one. */
	struct timespec moment = { .tv_nsec = round * 7 % 20 * (jiffy_ns() / 10) };
	int fd;

	expect_value(module_load("cleanup_interval_ms=1 ttl_ms=2 max_msgs=200"), 0);
	fd = device_open(O_RDWR);
	device_send_numbers(fd, 0, 10);
	nanosleep(&moment, NULL);
	close(fd);
	expect_value(module_unload(), 0);
}

SOLO(unload_in_every_phase,
     .says = "rmmod in every phase of timer and work leaves nothing behind",
     .page = "lab5.md#unloading", .stages = FROM_STAGE(5), .loads_itself = true,
     .as_root = true, .seconds = 30)
{
	long growth = slab_growth(unload_in_a_phase, 20, rounds(200));

	expect(growth < SLAB_NOISE, "load, 10 messages, unload, again and again",
	       "every byte is freed", "%ld more objects in use", growth);
}

TEST(unload_amid_a_cleanup,
     .says = "rmmod while thousands of messages expire waits for that, and leaves nothing behind",
     .page = "lab5.md#unloading", .stages = FROM_STAGE(5), .loads_itself = true,
     .as_root = true, .seconds = 10)
{
	for (int round = 0; another_round(round, 3, 12); round++) {
		long long start;
		int fd;

		expect_value(module_load("cleanup_interval_ms=0 ttl_ms=0 max_msgs=4000"), 0);
		fd = device_open(O_RDWR);
		send_many(fd, rounds(4000));
		expect_value(set_cleanup(fd, 1, round % 3 == 2 ? KMSGPIPE_TTL_MS : 1), 0);
		/* Every third time right away, every third time when it has surely begun. */
		for (start = now_ms(); round % 3 == 1 && !device_stats(fd).expired;)
			expect(now_ms() - start < LONGEST_MS * time_scale(),
			       "messages older than ttl_ms", "they expire", "none has");
		close(fd);
		expect_value(module_unload(), 0);
	}
}

/* True: in the end, others on the CPU of a real-time process get their 5 % nevertheless. */
static void limit_real_time(bool limit)
{
	FILE *file = fopen("/proc/sys/kernel/sched_rt_runtime_us", "w");

	expect(file && fputs(limit ? "950000" : "-1", file) > 0 && !fclose(file),
	       "write to sched_rt_runtime_us", "0", "%s", result(-1));
}

/* Set by the process below, once the work waits. */
static volatile bool *work_waits;

/*
 * Starts the timer, lets it go off, and keeps the work that it queues from beginning: the
 * kernel thread for it shares this CPU with us, and we do not give it away.
 */
static long call_keep_work_waiting(struct caller *self)
{
	const long long enough = 5 * jiffy_ns() / 1000000;
	long long start;

	run_on_cpu(0);
	keep_the_cpu(true);
	expect_value(set_cleanup(self->fd, 1, 1), 0);
	close(self->fd);
	/* Until we are killed. The first five jiffies are for the timer. */
	for (start = now_ms(); now_ms() - start < MOST_KEPT_MS; )
		*work_waits = now_ms() - start > enough;
	keep_the_cpu(false);
	return 0;
}

TEST(unload_while_the_work_waits,
     .says = "rmmod while the work is queued and has not begun: it never begins",
     .page = "lab5.md#unloading", .stages = FROM_STAGE(5), .loads_itself = true,
     .as_root = true)
{
	struct caller *keeper;
	int fd;

	work_waits = shared_memory(sizeof(*work_waits));
	limit_real_time(false);
	run_on_cpu(1);
	expect_value(module_load("cleanup_interval_ms=0 ttl_ms=0"), 0);
	fd = device_open(O_RDWR);
	device_send_numbers(fd, 0, 10);
	keeper = start_caller(fd, "SET_CLEANUP, and keeping the CPU", call_keep_work_waiting);
	close(fd);
	while (!*work_waits && !keeper->done && wait_a_moment())
		;
	expect_value(module_unload(), 0);
	kill_and_reap(keeper);
	limit_real_time(true);
	/* What is still queued begins now, on the CPU that is free again. */
	run_on_cpu(0);
	let_pass(10);
}

static long call_rmmod(struct caller *self)
{
	(void)self;
	return module_unload();
}

/*
 * Loads it, and has the work expire many messages until it is somewhere in the middle: from the
 * first lock that it takes after that on, the kernel thread has to leave the CPU to us. True if
 * it has been met there.
 */
static bool meet_the_work(void)
{
	const struct timespec a_bit = { .tv_nsec = 50000 };
	const unsigned int many = many_to_walk();
	uint64_t expired;
	int fd;

	expect_value(module_load("cleanup_interval_ms=0 ttl_ms=0 max_msgs=4000"), 0);
	fd = device_open(O_RDWR);
	send_many(fd, many);
	keep_the_cpu(true);
	expect_value(set_cleanup(fd, 1, 1), 0);
	while (!(expired = device_stats(fd).expired) && wait_a_moment())
		nanosleep(&a_bit, NULL);
	close(fd);
	return expired < many;
}

/* Whatever works without a lock in between is never met, and need not be. */
SOLO(unload_while_the_work_is_under_way,
     .says = "rmmod while the work is under way: after it no timer goes off, no work begins",
     .page = "lab5.md#unloading", .stages = FROM_STAGE(5), .loads_itself = true,
     .as_root = true, .seconds = 10)
{
	struct caller *unloader;
	bool met = false;

	for (int i = 0; i < 10 && !met; i++) {
		met = meet_the_work();
		/* It has our priority, and so the CPU as soon as we yield: until it waits. */
		unloader = start_caller(-1, "rmmod while the work is under way", call_rmmod);
		while (!unloader->done && !is_waiting(unloader))
			sched_yield();
		keep_the_cpu(false);
		wait_returned(unloader, 0, "it waits for the work, and the module goes");
	}
	let_pass(20);
}

SOLO(unload_does_not_wait_for_the_timer,
     .says = "rmmod does not wait for a timer that is due tomorrow",
     .page = "lab5.md#unloading", .stages = FROM_STAGE(5), .as_root = true,
     .params = "cleanup_interval_ms=86400000 ttl_ms=1")
{
	/* The runner unloads it now, within its time-out. */
	device_send_text(device_open(O_RDWR), "never read");
}

/* -- under load --------------------------------------------------------------------- */

SOLO(timer_goes_off_while_the_lock_is_held,
     .says = "the timer goes off while somebody looks at the end of a long queue",
     .page = "lab5.md#timer", .stages = FROM_STAGE(5),
     .params = "max_msgs=4000 cleanup_interval_ms=1 ttl_ms=86400000")
{
	const int many = many_to_walk();
	int fd = device_open(O_RDWR);
	long long until;
	char text[8];

	send_many(fd, many);
	until = now_ms() + LONGEST_MS * time_scale();
	/*
	 * Most of this is a walk along the queue, under the lock, and longer than a few jiffies:
	 * a single one is on a kernel that looks for races at each step.
	 */
	for (int i = 0; i < 1000 && now_ms() < until; i++) {
		struct kmsgpipe_peek peek = {
			.index = many - 1, .size = sizeof(text), .buf = (uintptr_t)text
		};

		expect_value(ioctl(fd, KMSGPIPE_PEEK, &peek), 0);
		expect(peek.size == 4 && !memcmp(text, "many", 4), "KMSGPIPE_PEEK of the last one",
		       "\"many\"", "\"%.*s\"", (int)peek.size, text);
	}
}

#define ROUNDS 400

static long call_write_many(struct caller *self)
{
	for (int i = 0; i < ROUNDS; i++)
		if (write(self->fd, "load", 4) != 4)
			return -1;
	return ROUNDS;
}

static long call_read_all(struct caller *self)
{
	char buf[16];
	long count = 0;

	/* Until killed: nobody knows how many expire before it comes. */
	while (read(self->fd, buf, sizeof(buf)) == 4)
		count++;
	return count;
}

TEST(expiry_among_readers_and_writers,
     .says = "while all at once write, read, clear and expire, every message is counted once",
     .page = "lab5.md#work", .stages = FROM_STAGE(5), .as_root = true, .seconds = 15,
     .params = "max_msgs=20 cleanup_interval_ms=1 ttl_ms=2")
{
	int fd = device_open(O_RDWR);
	struct caller *writers[2], *reader;
	struct kmsgpipe_stats stats;
	int looks = 0;

	reader = start_caller(fd, "read() again and again", call_read_all);
	for (int i = 0; i < 2; i++)
		writers[i] = start_caller(fd, "write() again and again", call_write_many);
	do {
		stats = device_stats(fd);
		expect(stats.written == stats.read + stats.cleared + stats.expired + stats.queued,
		       "GET_STATS", "written = read + cleared + expired + queued",
		       "%llu written, %llu read, %llu cleared, %llu expired, %u queued",
		       (unsigned long long)stats.written, (unsigned long long)stats.read,
		       (unsigned long long)stats.cleared, (unsigned long long)stats.expired,
		       stats.queued);
		if (++looks % 50 == 0)
			expect(ioctl(fd, KMSGPIPE_CLEAR_QUEUE) >= 0, "CLEAR_QUEUE", "0 or more",
			       "%s", result(-1));
		/* Let messages get old now and then. */
		kill(reader->pid, stats.written & 64 ? SIGSTOP : SIGCONT);
	} while (!writers[0]->done || !writers[1]->done);
	kill(reader->pid, SIGCONT);
	for (int i = 0; i < 2; i++)
		wait_returned(writers[i], ROUNDS, "every write() gets in");
	wait_asleep(reader);
	stats = device_stats(fd);
	expect_value(stats.written, 2 * ROUNDS);
	expect_value(stats.read + stats.cleared + stats.expired, 2 * ROUNDS);
	kill_and_reap(reader);
}

static long call_write_numbers(struct caller *self)
{
	char text[32];

	for (int i = 0; i < ROUNDS; i++) {
		int len = snprintf(text, sizeof(text), "message %d", i);

		if (write(self->fd, text, len) != len)
			return -1;
	}
	return ROUNDS;
}

TEST(what_does_not_expire_stays_whole_and_in_order,
     .says = "while messages expire all the time, those that are read are whole and in order",
     .page = "lab5.md#work", .stages = FROM_STAGE(5),
     .params = "max_msgs=20 cleanup_interval_ms=1 ttl_ms=1")
{
	int fd = device_open(O_RDWR), reader = device_open(O_RDONLY | O_NONBLOCK), last = -1;
	unsigned int count = 0;
	struct caller *writer;
	struct kmsgpipe_stats stats;

	writer = start_caller(fd, "write() again and again", call_write_numbers);
	do {
		char text[32] = "", wanted[32];
		ssize_t n = read(reader, text, sizeof(text) - 1);
		int number = -1;

		if (n < 0) {
			expect(errno == EAGAIN && wait_a_moment(), "read() while messages expire",
			       "a message or EAGAIN", "%s", result(n));
			stats = device_stats(fd);
			continue;
		}
		sscanf(text, "message %d", &number);
		snprintf(wanted, sizeof(wanted), "message %d", number);
		expect(n == (ssize_t)strlen(wanted) && !strcmp(text, wanted) && number > last,
		       "read() while messages expire", "a whole message, after the last one",
		       "\"%s\" after \"message %d\"", text, last);
		last = number;
		count++;
		stats = device_stats(fd);
	} while (!writer->done || stats.queued);
	wait_returned(writer, ROUNDS, "every write() gets in");
	stats = device_stats(fd);
	expect_value(stats.read, count);
	expect_value(stats.read + stats.expired, ROUNDS);
}
