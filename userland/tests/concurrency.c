// SPDX-License-Identifier: GPL-2.0
/* Many processes at once: nothing is lost, doubled, torn or out of order. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "slow.h"

#define WRITERS 4
#define READERS 4
#define EACH 120
#define LONGEST 200
#define RACES 600
#define RACE_MS 1500

/* What a message says of itself, so that its reader can tell if it is whole. */
struct parcel {
	uint32_t writer;
	uint32_t number;
	uint32_t length;
	uint32_t sum;
	unsigned char filling[];
};

static uint32_t sum_of(const struct parcel *parcel)
{
	uint32_t sum = parcel->writer * 31 + parcel->number * 17 + parcel->length;

	for (size_t i = 0; i < parcel->length - sizeof(*parcel); i++)
		sum = sum * 33 + parcel->filling[i];
	return sum;
}

static size_t pack(struct parcel *parcel, int writer, int number)
{
	const size_t most = LONGEST - sizeof(*parcel);

	/* Lengths differ, so that a mix-up of two messages shows. */
	parcel->length = sizeof(*parcel) + (writer * 37 + number * 11) % most;
	parcel->writer = writer;
	parcel->number = number;
	for (size_t i = 0; i < parcel->length - sizeof(*parcel); i++)
		parcel->filling[i] = writer * 7 + number * 13 + i;
	parcel->sum = sum_of(parcel);
	return parcel->length;
}

/* Shared by all: how often each parcel arrived, and how many in all. */
struct tally {
	unsigned char seen[WRITERS][EACH];
	int arrived;
};

static struct tally *tally;

static void send_parcels(int writer)
{
	char buf[LONGEST];
	struct parcel *parcel = (struct parcel *)buf;
	int fd = device_open(O_WRONLY);

	for (int i = 0; i < EACH; i++) {
		size_t len = pack(parcel, writer, i);
		ssize_t n;

		do
			n = write(fd, parcel, len);
		while (n == -1 && errno == ENOSPC && stage_number == 2 && !sched_yield());
		expect(n == (ssize_t)len, "write() by one of 4 writers", number(len), "%s",
		       result(n));
	}
	_exit(0);
}

static void check_parcel(const struct parcel *parcel, ssize_t n, int *last)
{
	unsigned char *seen;

	expect(n >= (ssize_t)sizeof(*parcel) && (size_t)n == parcel->length &&
	       parcel->writer < WRITERS && parcel->number < EACH && parcel->sum == sum_of(parcel),
	       "read() by one of 4 readers", "a whole message, as it was written",
	       "%zd bytes that do not fit together: torn, mixed or overwritten", n);
	expect((int)parcel->number > last[parcel->writer], "read() of one writer's messages",
	       "in the order in which they were written", "number %d after number %d",
	       parcel->number, last[parcel->writer]);
	last[parcel->writer] = parcel->number;
	seen = &tally->seen[parcel->writer][parcel->number];
	expect(__atomic_add_fetch(seen, 1, __ATOMIC_SEQ_CST) == 1,
	       "read() of all messages", "each once", "message %d of writer %d came twice",
	       parcel->number, parcel->writer);
}

static void receive_parcels(void)
{
	int fd = device_open(O_RDONLY), last[WRITERS] = { -1, -1, -1, -1 };
	char buf[LONGEST + 8];

	while (__atomic_load_n(&tally->arrived, __ATOMIC_SEQ_CST) < WRITERS * EACH) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n == 0 && stage_number == 2) {
			sched_yield();
			continue;
		}
		expect(n > 0, "read() by one of 4 readers", "a message", "%s", result(n));
		check_parcel((struct parcel *)buf, n, last);
		__atomic_add_fetch(&tally->arrived, 1, __ATOMIC_SEQ_CST);
	}
	_exit(0);
}

static pid_t spawn(void (*fn)(int), int arg)
{
	pid_t pid = fork();

	expect(pid >= 0, "fork()", "a process", "%s", result(-1));
	if (!pid)
		fn(arg);
	return pid;
}

static void receive(int unused)
{
	(void)unused;
	receive_parcels();
}

static void expect_all_arrived(void)
{
	for (int w = 0; w < WRITERS; w++)
		for (int i = 0; i < EACH; i++)
			expect(tally->seen[w][i] == 1, "480 messages of 4 writers to 4 readers",
			       "each arrives once", "message %d of writer %d never arrived", i, w);
}

static void wait_arrived(void)
{
	while (__atomic_load_n(&tally->arrived, __ATOMIC_SEQ_CST) < WRITERS * EACH)
		if (!wait_a_moment())
			test_fail("480 messages of 4 writers to 4 readers", "all arrive",
				  "%d arrived, then nothing moves any more", tally->arrived);
}

/* A call by somebody else, while a slow one is in the middle of its copy. */
static void expect_not_held_up(struct caller *other, long ret)
{
	while (!other->done)
		if (!wait_a_moment())
			test_fail(other->doing, "it goes on while another caller's copy takes long",
				  "it waits for the other one's copy: a lock is held across it");
	errno = other->error;
	expect(other->ret == ret, other->doing, number(ret), "%s", result(other->ret));
}

TEST(slow_writer_stops_nobody,
     .says = "a write() whose copy takes long stops no other caller",
     .page = "lab1.md#concurrency", .stages = ALL_STAGES, .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow = start_slow_writer(fd, "slow");

	expect_not_held_up(start_writer(device_open(O_WRONLY), "quick"), 5);
	expect_not_held_up(start_reader(device_open(O_RDONLY), LONGEST), 5);
	let_go();
	wait_returned(slow, 4, "it ends when its page has come");
	device_expect_text(device_open(O_RDONLY), "slow");
}

TEST(slow_reader_stops_no_writer,
     .says = "a read() whose copy takes long stops no writer",
     .page = "lab1.md#concurrency", .stages = ALL_STAGES, .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow;

	device_send_text(fd, "first");
	slow = start_slow_reader(fd, LONGEST);
	expect_not_held_up(start_writer(device_open(O_WRONLY), "second"), 6);
	let_go();
	wait_returned(slow, 5, "it ends when its page has come");
	expect(!memcmp(slow->data, "first", 5), slow->doing, "\"first\"", "\"%.5s\"", slow->data);
	device_expect_text(device_open(O_RDONLY), "second");
}

TEST(message_being_read_goes_to_one,
     .says = "two readers at once, one slow: each message goes to one of them",
     .page = "lab2.md#concurrency", .stages = FROM_STAGE(2), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow, *other;
	char first, second;

	device_send_text(fd, "message 1");
	device_send_text(fd, "message 2");
	slow = start_slow_reader(fd, LONGEST);
	other = start_reader(device_open(O_RDONLY), LONGEST);
	/* It may take the second message, or wait for its turn. */
	while (!other->done && !is_waiting(other) && wait_a_moment())
		;
	let_go();
	wait_returned(slow, 9, "it gets a whole message");
	wait_returned(other, 9, "it gets a whole message");
	first = slow->data[8];
	second = other->data[8];
	expect(!memcmp(slow->data, "message ", 8) && !memcmp(other->data, "message ", 8) &&
	       first + second == '1' + '2' && first != second,
	       "two read() at once, the copy of one takes long", "\"message 1\" and \"message 2\"",
	       "\"%.9s\" and \"%.9s\"", slow->data, other->data);
	device_expect_empty(fd);
}

TEST(reader_waiting_for_a_slow_one_can_be_killed,
     .says = "SIGKILL ends a reader that waits for a slow one, which goes on unharmed",
     .page = "lab3.md#signals", .stages = FROM_STAGE(3), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct caller *slow, *other;

	device_send_text(fd, "message 1");
	slow = start_slow_reader(fd, LONGEST);
	other = start_reader(device_open(O_RDONLY), LONGEST);
	/* It may wait for the slow one's message, or for the next one. */
	while (!is_waiting(other) && wait_a_moment())
		;
	kill_and_reap(other);
	let_go();
	wait_returned(slow, 9, "it gets its message, although another reader has gone");
	expect(!memcmp(slow->data, "message 1", 9), slow->doing, "\"message 1\"", "\"%.9s\"",
	       slow->data);
	device_expect_empty(fd);
	device_send_text(fd, "message 2");
	device_expect_text(fd, "message 2");
}

/*
 * Two processes, each on a CPU of its own, that make a call at the same moment, again and
 * again: what two CPUs do to data without a lock shows in few rounds. The first one is the
 * test itself; it looks at what has come of it while the second one waits.
 */
struct race {
	int arrived;
	int side_by_side;
	bool over;
	long long start[2];	/* in ns, as end */
	long long end[2];
	long ret[2];
	int error[2];
	char data[2][LONGEST];
};

static struct race *race;

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Until both are here. A pause in between would make one of them late. */
static void meet(void)
{
	static int meetings;
	int all = 2 * ++meetings;

	__atomic_add_fetch(&race->arrived, 1, __ATOMIC_SEQ_CST);
	for (int i = 1; __atomic_load_n(&race->arrived, __ATOMIC_SEQ_CST) < all; i++)
		if (i % 2048 == 0)
			sched_yield();
}

/* One of the two starts a moment later, each time another one: 0 to about 1 us. */
static void stagger(int me, int round)
{
	for (volatile int i = round % 2 == me ? round * 7 % 64 * 4 : 0; i > 0; i--)
		;
}

/*
 * Did both calls run at the same time, for long? On a busy machine one of the two CPUs often
 * stands still, and such a round shows nothing.
 */
static bool ran_side_by_side(void)
{
	static long long usual = LLONG_MAX;
	long long longest = 0;

	for (int i = 0; i < 2; i++) {
		long long took = race->end[i] - race->start[i];

		if (took < usual)
			usual = took;
		if (took > longest)
			longest = took;
	}
	return longest < 8 * usual && race->start[0] < race->end[1] &&
	       race->start[1] < race->end[0];
}

/*
 * Makes the call of racer @me each time; look() is for the first one, after each round.
 * Where the machine is too busy for RACES true ones, as many as there are in RACE_MS.
 */
static void run_race(int me, long (*call)(int me), void (*look)(void))
{
	const long long until = now_ms() + RACE_MS * time_scale();

	run_on_cpu(me);
	for (int round = 0;; round++) {
		meet();
		if (race->over)
			return;
		stagger(me, round);
		race->start[me] = now_ns();
		race->ret[me] = call(me);
		race->error[me] = errno;
		race->end[me] = now_ns();
		meet();
		if (me)
			continue;
		look();
		race->side_by_side += ran_side_by_side();
		race->over = race->side_by_side >= RACES || now_ms() > until;
	}
}

static void start_race(long (*call)(int me), void (*look)(void))
{
	pid_t pid;

	race = shared_memory(sizeof(*race));
	pid = fork();
	expect(pid >= 0, "fork()", "a process", "%s", result(-1));
	if (!pid) {
		run_race(1, call, look);
		_exit(0);
	}
	run_race(0, call, look);
	waitpid(pid, NULL, 0);
}

static int race_fd;

static long race_write(int me)
{
	return write(race_fd, me ? "1" : "0", 1);
}

static long race_read(int me)
{
	return read(race_fd, race->data[me], LONGEST);
}

static void expect_one_writer(void)
{
	char text[2] = { race->ret[0] == 1 ? '0' : '1', '\0' };

	expect((race->ret[0] == 1) + (race->ret[1] == 1) == 1,
	       "2 write() at the same moment, with room for one message", "one of them succeeds",
	       "%ld and %ld", race->ret[0], race->ret[1]);
	device_expect_text(race_fd, text);
	device_expect_empty(race_fd);
}

TEST(racing_writers_never_overfill,
     .says = "2 writers at the same moment, room for one message: one gets in",
     .page = "lab2.md#concurrency", .stages = FROM_STAGE(2), .params = "max_msgs=1", .seconds = 15)
{
	race_fd = device_open(O_RDWR | O_NONBLOCK);
	start_race(race_write, expect_one_writer);
}

static void expect_both_messages(void)
{
	char buf[LONGEST];
	int sum = 0;

	expect(race->ret[0] == 1 && race->ret[1] == 1, "2 write() at the same moment", "1 and 1",
	       "%ld and %ld", race->ret[0], race->ret[1]);
	for (int i = 0; i < 2; i++) {
		expect_value(read(race_fd, buf, sizeof(buf)), 1);
		sum += buf[0];
	}
	expect(sum == '0' + '1', "2 write() at the same moment, then 2 read()", "both messages",
	       "one of them twice");
	device_expect_empty(race_fd);
}

TEST(racing_writers_lose_nothing,
     .says = "2 writers at the same moment: both messages are there", .page = "lab2.md#concurrency",
     .stages = FROM_STAGE(2), .seconds = 15)
{
	race_fd = device_open(O_RDWR | O_NONBLOCK);
	start_race(race_write, expect_both_messages);
}

static void expect_one_reader(void)
{
	static int round;
	char text[16];

	expect((race->ret[0] > 0) + (race->ret[1] > 0) == 1,
	       "2 read() at the same moment, of one message", "one of them gets it", "%ld and %ld",
	       race->ret[0], race->ret[1]);
	device_expect_empty(race_fd);
	snprintf(text, sizeof(text), "message %d", round++);
	device_send_text(race_fd, text);
}

TEST(racing_readers_share_nothing,
     .says = "2 readers at the same moment, one message: one gets it",
     .page = "lab2.md#concurrency", .stages = FROM_STAGE(2), .seconds = 15)
{
	race_fd = device_open(O_RDWR | O_NONBLOCK);
	device_send_text(race_fd, "the first");
	start_race(race_read, expect_one_reader);
}

static long race_write_text(int me)
{
	char text[KMSGPIPE_MSG_SIZE];

	memset(text, 'a' + me, sizeof(text));
	return write(race_fd, text, sizeof(text));
}

static void expect_one_text(void)
{
	char buf[KMSGPIPE_MSG_SIZE];

	expect_value(pread(race_fd, buf, sizeof(buf), 0), sizeof(buf));
	for (size_t i = 1; i < sizeof(buf); i++)
		expect(buf[i] == buf[0], "2 write() at the same moment, then pread()",
		       "one writer's text", "\"%c\" at byte %zu of a text of \"%c\"", buf[i], i,
		       buf[0]);
}

TEST(racing_writers_mix_nothing,
     .says = "2 writers at the same moment: one text is there, not a mix",
     .page = "lab1.md#concurrency", .stages = STAGE(1), .seconds = 15)
{
	race_fd = device_open(O_RDWR);
	start_race(race_write_text, expect_one_text);
}

TEST(writers_and_readers_lose_nothing,
     .says = "4 writers, 4 readers: nothing lost, doubled, torn or out of order",
     .page = "lab2.md#concurrency", .stages = FROM_STAGE(2), .params = "max_msgs=8", .seconds = 15)
{
	tally = shared_memory(sizeof(*tally));
	for (int i = 0; i < READERS; i++)
		spawn(receive, 0);
	for (int i = 0; i < WRITERS; i++)
		spawn(send_parcels, i);
	wait_arrived();
	expect_all_arrived();
	/* Readers of lab 3 sleep for good now; the runner ends them. */
	device_expect_empty(device_open(O_RDONLY));
}

static void nothing(int signal)
{
	(void)signal;
}

TEST(signals_amid_traffic_lose_nothing,
     .says = "the same while signals rain on everybody", .page = "lab3.md#concurrency",
     .stages = FROM_STAGE(3), .params = "max_msgs=2", .seconds = 15)
{
	const struct sigaction action = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	pid_t pids[WRITERS + READERS];

	tally = shared_memory(sizeof(*tally));
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < READERS; i++)
		pids[i] = spawn(receive, 0);
	for (int i = 0; i < WRITERS; i++)
		pids[READERS + i] = spawn(send_parcels, i);
	for (int i = 0; __atomic_load_n(&tally->arrived, __ATOMIC_SEQ_CST) < WRITERS * EACH; i++) {
		kill(pids[i % (WRITERS + READERS)], SIGUSR1);
		if (!wait_a_moment())
			break;
	}
	wait_arrived();
	expect_all_arrived();
	/* Readers of lab 3 sleep for good now; the runner ends them. */
	device_expect_empty(device_open(O_RDONLY));
}

static void read_for_ever(int unused)
{
	char buf[LONGEST + 8];
	int fd = device_open(O_RDONLY);

	(void)unused;
	for (;;)
		if (read(fd, buf, sizeof(buf)) < 0)
			_exit(1);
}

static void write_for_ever(int unused)
{
	int fd = device_open(O_WRONLY);

	(void)unused;
	for (;;)
		if (write(fd, "traffic", 7) < 0)
			_exit(1);
}

TEST(killing_amid_traffic_stops_nobody,
     .says = "readers and writers killed at any moment do not stop the others",
     .page = "lab3.md#concurrency", .stages = FROM_STAGE(3), .params = "max_msgs=1", .seconds = 15)
{
	for (int i = 0; i < 25; i++) {
		pid_t reader = spawn(read_for_ever, 0), writer = spawn(write_for_ever, 0);

		for (int j = 0; j < i % 5; j++)
			wait_a_moment();
		kill(reader, SIGKILL);
		kill(writer, SIGKILL);
		waitpid(reader, NULL, 0);
		waitpid(writer, NULL, 0);
	}
	/* Whatever they left, a message can still travel. */
	for (int i = 0; i < 5; i++) {
		int fd = device_open(O_RDWR);
		char buf[LONGEST];

		fcntl(fd, F_SETFL, O_NONBLOCK);
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		fcntl(fd, F_SETFL, 0);
		device_send_text(fd, "still working");
		device_expect_text(fd, "still working");
		close(fd);
	}
}

static void write_uniform(int letter)
{
	char text[KMSGPIPE_MSG_SIZE];
	int fd = device_open(O_WRONLY);

	memset(text, 'a' + letter, sizeof(text));
	for (int i = 0; i < rounds(600); i++)
		device_send(fd, text, 1 + (i * 37 + letter * 61) % sizeof(text));
	_exit(0);
}

TEST(texts_are_never_mixed,
     .says = "4 writers at once: a reader sees one text, never two mixed",
     .page = "lab1.md#concurrency", .stages = STAGE(1), .seconds = 15)
{
	char buf[KMSGPIPE_MSG_SIZE];
	int fd = device_open(O_RDONLY), left = WRITERS;

	for (int i = 0; i < WRITERS; i++)
		spawn(write_uniform, i);
	while (left) {
		ssize_t n = pread(fd, buf, sizeof(buf), 0);

		expect(n >= 0, "pread() while 4 processes write", "a text", "%s", result(n));
		for (ssize_t i = 1; i < n; i++)
			expect(buf[i] == buf[0], "pread() while 4 processes write",
			       "one writer's text", "\"%c\" at byte %zd of a text of \"%c\"",
			       buf[i], i, buf[0]);
		while (left && waitpid(-1, NULL, WNOHANG) > 0)
			left--;
	}
}
