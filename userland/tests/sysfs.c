// SPDX-License-Identifier: GPL-2.0
/* Lab 6: a file in sysfs for each control and each counter, as good as the ioctls. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "module.h"

#define CLASS	"/sys/class/" KMSGPIPE_NAME
#define FOLDER	CLASS "/" KMSGPIPE_NAME "0/"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MOST_TEXT 5000

/* Moments in which a driver that drops what should stay shows itself. */
#define A_WHILE 100

static const struct file {
	const char *name;
	mode_t mode;
} files[] = {
	{ "max_msgs", 0644 },
	{ "msg_size", 0644 },
	{ "cleanup_interval_ms", 0644 },
	{ "ttl_ms", 0644 },
	{ "clear_queue", 0200 },
	{ "written", 0444 },
	{ "read", 0444 },
	{ "cleared", 0444 },
	{ "expired", 0444 },
	{ "queued", 0444 },
};

/* What can be set, and how far. */
static const struct setting {
	const char *name;
	unsigned int least;
	unsigned int most;
} settings[] = {
	{ "max_msgs", 1, KMSGPIPE_MAX_MSGS_MAX },
	{ "msg_size", 1, KMSGPIPE_MSG_SIZE_MAX },
	{ "cleanup_interval_ms", 0, KMSGPIPE_CLEANUP_MS_MAX },
	{ "ttl_ms", 0, KMSGPIPE_CLEANUP_MS_MAX },
};

enum { MAX_MSGS, MSG_SIZE, INTERVAL, TTL };

/* A text for a report; good until the fourth after it. */
static const char *words(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static const char *words(const char *fmt, ...)
{
	static char texts[4][200];
	static unsigned int next;
	char *text = texts[next++ % 4];
	int error = errno;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(texts[0]), fmt, args);
	va_end(args);
	errno = error;
	return text;
}

/* -- the files ---------------------------------------------------------------------- */

static int try_open(const char *name, int flags)
{
	return open(words(FOLDER "%s", name), flags | O_CLOEXEC);
}

static int open_file(const char *name, int flags)
{
	int fd = try_open(name, flags);

	expect(fd >= 0, words("open(\"%s%s\")", FOLDER, name), "a file descriptor", "%s",
	       result(fd));
	return fd;
}

/* Writes once, as echo does; what write() returned. */
static ssize_t store_bytes(const char *name, const char *text, size_t len)
{
	int fd = open_file(name, O_WRONLY), error;
	ssize_t n = write(fd, text, len);

	error = errno;
	close(fd);
	errno = error;
	return n;
}

static void store_text(const char *name, const char *text)
{
	ssize_t n = store_bytes(name, text, strlen(text));

	expect(n == (ssize_t)strlen(text), words("write() of \"%s\" to %s", text, name),
	       words("%zu: all of it was taken", strlen(text)), "%s", result(n));
}

static void store(const char *name, unsigned int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u\n", value);
	store_text(name, text);
}

/* @other is a second errno that will do, or 0. */
static void expect_refused(const char *name, const char *text, int error, int other)
{
	ssize_t n = store_bytes(name, text, strlen(text));

	expect(n == -1 && (errno == error || (other && errno == other)),
	       words("write() of \"%.20s\"%s to %s", text, strlen(text) > 20 ? "..." : "", name),
	       words("-1 (%s)", strerrorname_np(error)), "%s", result(n));
}

/* The number in a file, which has to hold just that and a newline. */
static unsigned long long show(const char *name)
{
	char text[64] = "", tidy[64];
	int fd = open_file(name, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1), more;
	unsigned long long value;

	expect(n >= 0, words("read() of %s", name), "a number", "%s", result(n));
	more = read(fd, tidy, sizeof(tidy));
	expect(more == 0, words("read() of %s until its end", name), "one short line",
	       "%s after the first %zd bytes", result(more), n);
	close(fd);
	value = strtoull(text, NULL, 10);
	snprintf(tidy, sizeof(tidy), "%llu\n", value);
	expect(n == (ssize_t)strlen(tidy) && !memcmp(text, tidy, n), words("read() of %s", name),
	       "a decimal number and one newline", "%zd bytes: \"%s\"", n, text);
	return value;
}

static void expect_shows(const char *name, unsigned long long wanted, const char *after)
{
	unsigned long long value = show(name);

	expect(value == wanted, words("%s, then read() of %s", after, name),
	       words("%llu", wanted), "%llu", value);
}

/* -- the other plane ---------------------------------------------------------------- */

static struct kmsgpipe_stats stats_of(int fd)
{
	struct kmsgpipe_stats stats;

	expect_value(ioctl(fd, KMSGPIPE_GET_STATS, &stats), 0);
	return stats;
}

static struct kmsgpipe_cleanup cleanup_of(int fd)
{
	struct kmsgpipe_cleanup cleanup;

	expect_value(ioctl(fd, KMSGPIPE_GET_CLEANUP, &cleanup), 0);
	return cleanup;
}

static unsigned int by_ioctl(int fd, int which)
{
	switch (which) {
	case MAX_MSGS:
		return stats_of(fd).max_msgs;
	case MSG_SIZE:
		return stats_of(fd).msg_size;
	case INTERVAL:
		return cleanup_of(fd).interval_ms;
	default:
		return cleanup_of(fd).ttl_ms;
	}
}

/* All that a refused store must leave alone. */
struct state {
	unsigned int values[COUNT(settings)];
	struct kmsgpipe_stats stats;
};

static struct state state_of(int fd)
{
	struct state state = { .stats = stats_of(fd) };

	for (size_t i = 0; i < COUNT(settings); i++)
		state.values[i] = by_ioctl(fd, i);
	return state;
}

static void expect_unchanged(int fd, const struct state *before, const char *after)
{
	struct state now = state_of(fd);

	for (size_t i = 0; i < COUNT(settings); i++) {
		expect(now.values[i] == before->values[i], after,
		       words("%s stays %u", settings[i].name, before->values[i]), "%u",
		       now.values[i]);
		expect_shows(settings[i].name, before->values[i], after);
	}
	expect(now.stats.queued == before->stats.queued &&
	       now.stats.cleared == before->stats.cleared, after,
	       words("the queue keeps its %u messages", before->stats.queued), "%u are left",
	       now.stats.queued);
}

/* -- processes ---------------------------------------------------------------------- */

static pid_t start(void (*fn)(int), int arg)
{
	pid_t pid = fork();

	expect(pid >= 0, "fork()", "a process", "%s", result(-1));
	if (!pid) {
		fn(arg);
		_exit(0);
	}
	return pid;
}

/* In a process of its own, which may change who it is. */
static void apart(void (*fn)(int), int arg)
{
	int status;
	pid_t pid = start(fn, arg);

	expect_value(waitpid(pid, &status, 0), pid);
	/* It has said why. */
	if (status)
		_exit(1);
}

/* Takes CAP_SYS_ADMIN off, or puts it on again; we stay root otherwise. */
static void be_admin(bool admin)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	expect_value(syscall(SYS_capget, &header, data), 0);
	if (admin)
		data[0].effective |= 1u << CAP_SYS_ADMIN;
	else
		data[0].effective &= ~(1u << CAP_SYS_ADMIN);
	expect_value(syscall(SYS_capset, &header, data), 0);
}

static void become_user(void)
{
	expect_value(setresuid(1000, 1000, 1000), 0);
}

/* -- the files are there ------------------------------------------------------------ */

SOLO(sysfs_files_come_and_go,
     .says = "the files in sysfs come with the module, with their modes, and go with it",
     .page = "lab6.md#attributes", .stages = FROM_STAGE(6), .loads_itself = true, .as_root = true)
{
	struct stat st;

	for (int round = 0; round < 2; round++) {
		expect_errno(stat(CLASS, &st), ENOENT);
		expect_value(module_load(NULL), 0);
		for (size_t i = 0; i < COUNT(files); i++) {
			const char *path = words(FOLDER "%s", files[i].name);
			int ret = stat(path, &st);

			expect(!ret, path, "a file, as soon as insmod returns", "%s", result(ret));
			expect(S_ISREG(st.st_mode) && (st.st_mode & 07777) == files[i].mode &&
			       st.st_uid == 0, path, words("root's, mode 0%o", files[i].mode),
			       "user %d's, mode 0%o", st.st_uid, st.st_mode & 07777);
		}
		expect_value(module_unload(), 0);
		expect_errno(stat(FOLDER, &st), ENOENT);
		expect_errno(stat(CLASS, &st), ENOENT);
	}
}

/* Sleeps until the kernel announces the device, then counts the files that are missing. */
static long count_missing(struct caller *self)
{
	static const char wanted[] = "/" KMSGPIPE_NAME "0";
	char event[8192];
	long missing = 0;
	struct stat st;

	for (;;) {
		ssize_t n = recv(self->fd, event, sizeof(event) - 1, 0);

		if (n <= 0)
			return -1;
		event[n] = '\0';
		if (!strncmp(event, "add@", 4) && strlen(event) > strlen(wanted) &&
		    !strcmp(event + strlen(event) - strlen(wanted), wanted))
			break;
	}
	for (size_t i = 0; i < COUNT(files); i++)
		missing += stat(words(FOLDER "%s", files[i].name), &st) != 0;
	return missing;
}

/*
 * What udev does. It shares our CPU and goes first wherever the kernel asks who should run,
 * so that it looks at once.
 */
TEST(sysfs_files_precede_the_announcement,
     .says = "who hears of the new device (udev) finds all files there",
     .page = "lab6.md#attributes", .stages = FROM_STAGE(6), .loads_itself = true, .as_root = true)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	const struct sched_param priority = { .sched_priority = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	expect_value(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	run_on_cpu(0);
	for (int round = 0; round < 3; round++) {
		struct caller *udev = start_caller(fd, "recv() of the event that announces it",
						   count_missing);

		expect_value(sched_setscheduler(udev->pid, SCHED_FIFO, &priority), 0);
		wait_asleep(udev);
		expect_value(module_load(NULL), 0);
		wait_done(udev, "the device is announced");
		expect(udev->ret == 0, "stat() of the files when the device is announced",
		       "all are there", "%ld are missing", udev->ret);
		expect_value(module_unload(), 0);
	}
	run_on_cpu(ANY_CPU);
}

SOLO(sysfs_files_go_one_way,
     .says = "counters cannot be opened to write, clear_queue not to read, not even by root",
     .page = "lab6.md#attributes", .stages = FROM_STAGE(6), .as_root = true)
{
	for (size_t i = 0; i < COUNT(files); i++) {
		int fd;

		if (files[i].mode == 0644)
			continue;
		fd = try_open(files[i].name, files[i].mode == 0200 ? O_RDONLY : O_WRONLY);
		expect(fd == -1 && errno == EACCES,
		       words("open() of %s to %s, by root", files[i].name,
			     files[i].mode == 0200 ? "read" : "write"), "-1 (EACCES)", "%s",
		       result(fd));
	}
}

/* -- reading ------------------------------------------------------------------------ */

SOLO(sysfs_file_is_one_number_and_a_newline,
     .says = "each file reads as one decimal number and one newline, for any user",
     .page = "lab6.md#reading", .stages = FROM_STAGE(6))
{
	int fd = device_open(O_RDWR);

	/* Numbers of two digits: 12 would read as c if it were not decimal. */
	device_send_numbers(fd, 0, 24);
	device_expect_numbers(fd, 0, 12);
	for (size_t i = 0; i < COUNT(files); i++)
		if (files[i].mode != 0200)
			show(files[i].name);
	expect_shows("written", 24, "24 messages were written");
	expect_shows("read", 12, "12 messages were read");
	expect_shows("queued", 12, "12 of 24 messages were read");
}

SOLO(sysfs_counts_what_happened,
     .says = "written, read, cleared, expired, queued tell the same as KMSGPIPE_GET_STATS",
     .page = "lab6.md#reading", .stages = FROM_STAGE(6), .as_root = true,
     .params = "ttl_ms=0 cleanup_interval_ms=1")
{
	static const char after[] = "12 written, 3 read, 2 cleared, 1 expired, the rest queued";
	int fd = device_open(O_RDWR);
	struct kmsgpipe_stats stats;

	device_send_numbers(fd, 0, 5);
	device_expect_numbers(fd, 0, 3);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 2);
	device_send_numbers(fd, 5, 1);
	store("ttl_ms", 1);
	while (!stats_of(fd).expired && wait_a_moment())
		;
	store("ttl_ms", 0);
	device_send_numbers(fd, 6, 6);
	expect_shows("written", 12, after);
	expect_shows("read", 3, after);
	expect_shows("cleared", 2, after);
	expect_shows("expired", 1, after);
	expect_shows("queued", 6, after);
	stats = stats_of(fd);
	expect(stats.written == 12 && stats.read == 3 && stats.cleared == 2 && stats.expired == 1 &&
	       stats.queued == 6, "KMSGPIPE_GET_STATS beside the files", "12, 3, 2, 1, 6",
	       "%llu, %llu, %llu, %llu, %u", stats.written, stats.read, stats.cleared,
	       stats.expired, stats.queued);
}

SOLO(sysfs_shows_the_parameters,
     .says = "after insmod with parameters the files show them, each its own",
     .page = "lab6.md#reading", .stages = FROM_STAGE(6),
     .params = "max_msgs=11 msg_size=22 cleanup_interval_ms=33333 ttl_ms=44444")
{
	static const char after[] = "insmod with all four parameters";

	expect_shows("max_msgs", 11, after);
	expect_shows("msg_size", 22, after);
	expect_shows("cleanup_interval_ms", 33333, after);
	expect_shows("ttl_ms", 44444, after);
}

SOLO(sysfs_text_can_be_read_in_pieces,
     .says = "byte by byte, or from the middle on, a file reads as it does at once",
     .page = "lab6.md#reading", .stages = FROM_STAGE(6), .params = "ttl_ms=12345")
{
	static const char wanted[] = "12345\n";
	char text[16] = "";
	int fd = open_file("ttl_ms", O_RDONLY);

	for (size_t i = 0; i < strlen(wanted); i++) {
		ssize_t n = read(fd, text + i, 1);

		expect(n == 1, "read() of ttl_ms byte by byte", "6 bytes", "%s at byte %zu",
		       result(n), i);
	}
	expect(!strcmp(text, wanted), "read() of ttl_ms byte by byte", wanted, "%s", text);
	expect_value(read(fd, text, sizeof(text)), 0);
	expect_value(pread(fd, text, sizeof(text), 3), 3);
	expect(!memcmp(text, "45\n", 3), "pread() of ttl_ms from byte 3 on", "45", "%.3s", text);
}

SOLO(sysfs_file_kept_open_shows_the_present,
     .says = "a file that is kept open shows the number of now after lseek() to its start",
     .page = "lab6.md#reading", .stages = FROM_STAGE(6))
{
	int device = device_open(O_RDWR), fd = open_file("written", O_RDONLY);
	char text[16];

	for (int i = 0; i < 3; i++) {
		expect_value(lseek(fd, 0, SEEK_SET), 0);
		expect_value(read(fd, text, sizeof(text)), 2);
		expect(text[0] == '0' + i, "lseek(), read() of written", number(i), "%c", text[0]);
		device_send_text(device, "one more");
	}
}

/* -- storing ------------------------------------------------------------------------ */

SOLO(sysfs_stores_what_the_ioctl_tells,
     .says = "a number that is stored, least to most, holds in the file and in the ioctl",
     .page = "lab6.md#storing", .stages = FROM_STAGE(6), .as_root = true)
{
	int fd = device_open(O_RDWR);

	for (size_t i = 0; i < COUNT(settings); i++) {
		const struct setting *setting = &settings[i];
		const unsigned int values[] = { setting->least, setting->most, 77 };

		for (size_t j = 0; j < COUNT(values); j++) {
			unsigned int told;

			store(setting->name, values[j]);
			expect_shows(setting->name, values[j], words("%u stored", values[j]));
			told = by_ioctl(fd, i);
			expect(told == values[j],
			       words("%u written to %s, then the ioctl", values[j], setting->name),
			       number(values[j]), "%u", told);
		}
	}
}

SOLO(sysfs_newline_may_be_missing,
     .says = "echo and echo -n both store; write() returns how many bytes there were",
     .page = "lab6.md#storing", .stages = FROM_STAGE(6), .as_root = true)
{
	for (size_t i = 0; i < COUNT(settings); i++) {
		const char *name = settings[i].name;
		int fd;

		store_text(name, "123");
		expect_shows(name, 123, "\"123\" stored");
		store_text(name, "234\n");
		expect_shows(name, 234, "\"234\\n\" stored");
		/* Every write() is a value of its own, wherever the file's position is. */
		fd = open_file(name, O_WRONLY);
		expect_value(write(fd, "9\n", 2), 2);
		expect_value(write(fd, "8\n", 2), 2);
		close(fd);
		expect_shows(name, 8, "9 stored, then 8");
	}
}

SOLO(sysfs_shows_what_the_ioctl_set,
     .says = "what SET_LIMITS and SET_CLEANUP change shows in the files",
     .page = "lab6.md#two-planes", .stages = FROM_STAGE(6), .as_root = true)
{
	struct kmsgpipe_limits limits = { .max_msgs = 21, .msg_size = 22 };
	struct kmsgpipe_cleanup cleanup = { .interval_ms = 23000, .ttl_ms = 24000 };
	int fd = device_open(O_RDWR);

	expect_value(ioctl(fd, KMSGPIPE_SET_LIMITS, &limits), 0);
	expect_value(ioctl(fd, KMSGPIPE_SET_CLEANUP, &cleanup), 0);
	expect_shows("max_msgs", 21, "KMSGPIPE_SET_LIMITS");
	expect_shows("msg_size", 22, "KMSGPIPE_SET_LIMITS");
	expect_shows("cleanup_interval_ms", 23000, "KMSGPIPE_SET_CLEANUP");
	expect_shows("ttl_ms", 24000, "KMSGPIPE_SET_CLEANUP");
}

SOLO(sysfs_limits_hold_for_writers,
     .says = "max_msgs and msg_size that are stored hold from the next write() on",
     .page = "lab6.md#two-planes", .stages = FROM_STAGE(6), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	store("max_msgs", 2);
	store("msg_size", 3);
	expect_errno(write(fd, "four", 4), EMSGSIZE);
	device_send_text(fd, "abc");
	device_send_text(fd, "def");
	expect_errno(write(fd, "ghi", 3), EAGAIN);
	store("max_msgs", 3);
	store("msg_size", 4);
	device_send_text(fd, "four");
	expect_errno(write(fd, "five", 4), EAGAIN);
	device_expect_text(fd, "abc");
}

SOLO(sysfs_refuses_what_is_no_number,
     .says = "what is not just one decimal number gets EINVAL and changes nothing",
     .page = "lab6.md#storing", .stages = FROM_STAGE(6), .as_root = true)
{
	static const char *const texts[] = {
		"\n", " ", "-", "-1", "+", "+ 5", "abc", "12abc", "1 2", "1\n2", "0x10",
		"1.5", "1e2", "5,", "\"5\"", "max_msgs=5"
	};
	int fd = device_open(O_RDWR);
	struct state before;

	device_send_numbers(fd, 0, 3);
	before = state_of(fd);
	for (size_t i = 0; i < COUNT(settings); i++) {
		const char *name = settings[i].name;

		for (size_t j = 0; j < COUNT(texts); j++) {
			expect_refused(name, texts[j], EINVAL, 0);
			expect_unchanged(fd, &before, words("\"%s\" stored in %s", texts[j], name));
		}
		/* sysfs itself takes these; the driver never hears of them. */
		expect_value(store_bytes(name, "", 0), 0);
		expect_unchanged(fd, &before, words("write() of nothing to %s", name));
	}
}

SOLO(sysfs_refuses_numbers_out_of_range,
     .says = "a number that is too small or too large is refused and changes nothing",
     .page = "lab6.md#storing", .stages = FROM_STAGE(6), .as_root = true)
{
	/* Cut down to 32 bits, or to 64, the last ones would be 5. */
	static const char *const huge[] = {
		"2147483648", "4294967295", "4294967301", "18446744073709551615",
		"18446744073709551621"
	};
	int fd = device_open(O_RDWR);
	struct state before;

	device_send_numbers(fd, 0, 3);
	before = state_of(fd);
	for (size_t i = 0; i < COUNT(settings); i++) {
		const struct setting *setting = &settings[i];
		char text[16];

		if (setting->least) {
			expect_refused(setting->name, "0", EINVAL, ERANGE);
			expect_unchanged(fd, &before, words("0 stored in %s", setting->name));
		}
		snprintf(text, sizeof(text), "%u\n", setting->most + 1);
		expect_refused(setting->name, text, EINVAL, ERANGE);
		expect_unchanged(fd, &before, words("%s stored in %s", text, setting->name));
		for (size_t j = 0; j < COUNT(huge); j++) {
			expect_refused(setting->name, huge[j], EINVAL, ERANGE);
			expect_unchanged(fd, &before,
					 words("%s stored in %s", huge[j], setting->name));
		}
	}
}

SOLO(sysfs_refuses_long_texts,
     .says = "a text of 5000 bytes is refused, be it digits, blanks or line breaks",
     .page = "lab6.md#storing", .stages = FROM_STAGE(6), .as_root = true)
{
	static const char fillings[] = { '9', ' ', '\n', 'x' };
	int fd = device_open(O_RDWR);
	struct state before = state_of(fd);
	char text[MOST_TEXT + 1] = "5";

	for (size_t i = 0; i < COUNT(settings); i++)
		for (size_t j = 0; j < COUNT(fillings); j++) {
			memset(text + 1, fillings[j], MOST_TEXT - 1);
			expect_refused(settings[i].name, text, EINVAL, ERANGE);
			expect_unchanged(fd, &before, "a text of 5000 bytes stored");
		}
}

/* -- pairs -------------------------------------------------------------------------- */

SOLO(sysfs_store_keeps_the_other_setting,
     .says = "a store changes one setting; all others stay", .page = "lab6.md#pairs",
     .stages = FROM_STAGE(6), .as_root = true)
{
	int fd = device_open(O_RDWR);

	for (size_t i = 0; i < COUNT(settings); i++) {
		struct state wanted = state_of(fd);

		wanted.values[i] = 50 + i;
		store(settings[i].name, 50 + i);
		expect_unchanged(fd, &wanted, words("%zu stored in %s", 50 + i, settings[i].name));
	}
	/* And what an ioctl set for both is kept, too: not what the module was loaded with. */
	expect_value(ioctl(fd, KMSGPIPE_SET_LIMITS,
			   &(struct kmsgpipe_limits){ .max_msgs = 7, .msg_size = 8 }), 0);
	store("max_msgs", 9);
	expect_shows("msg_size", 8, "KMSGPIPE_SET_LIMITS, max_msgs stored");
	expect_value(ioctl(fd, KMSGPIPE_SET_CLEANUP,
			   &(struct kmsgpipe_cleanup){ .interval_ms = 7000, .ttl_ms = 8000 }), 0);
	store("ttl_ms", 9000);
	expect_shows("cleanup_interval_ms", 7000, "KMSGPIPE_SET_CLEANUP, ttl_ms stored");
}

/*
 * Two processes, each on a CPU of its own, that store at the same moment, again and again;
 * one of them a bit later, each time by another bit.
 */
#define STORES 600

static struct {
	int arrived;
	long ret[2];
} *race;

static void meet(void)
{
	static int meetings;
	int all = 2 * ++meetings;

	__atomic_add_fetch(&race->arrived, 1, __ATOMIC_SEQ_CST);
	for (int i = 1; __atomic_load_n(&race->arrived, __ATOMIC_SEQ_CST) < all; i++)
		if (i % 2048 == 0)
			sched_yield();
}

/* Both have stored @value; the first one looks while the second one waits. */
static void expect_both(int device, const int *which, unsigned int value)
{
	for (int i = 0; i < 2; i++) {
		const char *name = settings[which[i]].name;
		unsigned int told = by_ioctl(device, which[i]);

		expect(race->ret[i] == 5, words("write() of %u to %s", value, name), "5", "%ld",
		       race->ret[i]);
		expect(told == value, words("%u stored in %s, the other of the pair by another CPU",
					    value, name),
		       "both stay", "it is %u: the other store has undone it", told);
	}
}

static void store_on_and_on(int me, const int *which, int device)
{
	int fd = open(words(FOLDER "%s", settings[which[me]].name), O_WRONLY | O_CLOEXEC);

	run_on_cpu(me);
	for (int i = 0; i < STORES; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%u\n", 1000 + i);
		meet();
		for (volatile int late = i % 2 == me ? i * 7 % 64 * 4 : 0; late > 0; late--)
			;
		race->ret[me] = write(fd, text, 5);
		meet();
		if (!me)
			expect_both(device, which, 1000 + i);
	}
}

static void expect_no_lost_update(int one, int other)
{
	int device = device_open(O_RDWR), which[] = { one, other };
	pid_t pid;

	race = shared_memory(sizeof(*race));
	pid = fork();
	expect(pid >= 0, "fork()", "a process", "%s", result(-1));
	if (!pid) {
		store_on_and_on(1, which, device);
		_exit(0);
	}
	store_on_and_on(0, which, device);
	expect_value(waitpid(pid, NULL, 0), pid);
}

TEST(sysfs_stores_of_limits_lose_nothing,
     .says = "max_msgs and msg_size stored at the same time: neither undoes the other",
     .page = "lab6.md#pairs", .stages = FROM_STAGE(6), .as_root = true, .seconds = 15)
{
	expect_no_lost_update(MAX_MSGS, MSG_SIZE);
}

TEST(sysfs_stores_of_times_lose_nothing,
     .says = "ttl_ms and cleanup_interval_ms stored at the same time: neither undoes the other",
     .page = "lab6.md#pairs", .stages = FROM_STAGE(6), .as_root = true, .seconds = 15)
{
	expect_no_lost_update(INTERVAL, TTL);
}

/* -- privilege ---------------------------------------------------------------------- */

/* Each file that can be written, with a text that it would take from root. */
static const struct {
	const char *name;
	const char *text;
} takes[] = {
	{ "max_msgs", "5" }, { "msg_size", "5" }, { "cleanup_interval_ms", "5000" },
	{ "ttl_ms", "5000" }, { "clear_queue", "1" },
};

SOLO(sysfs_cannot_be_written_by_users,
     .says = "an ordinary user cannot open a file to write: EACCES", .page = "lab6.md#privilege",
     .stages = FROM_STAGE(6))
{
	for (size_t i = 0; i < COUNT(files); i++) {
		int fd = try_open(files[i].name, O_WRONLY);

		expect(fd == -1 && errno == EACCES,
		       words("open() of %s to write, by user 1000", files[i].name), "-1 (EACCES)",
		       "%s", result(fd));
	}
}

SOLO(sysfs_stores_need_cap_sys_admin,
     .says = "root without CAP_SYS_ADMIN gets EPERM from each store; nothing changes",
     .page = "lab6.md#privilege", .stages = FROM_STAGE(6), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct state before;

	device_send_numbers(fd, 0, 3);
	before = state_of(fd);
	be_admin(false);
	for (size_t i = 0; i < COUNT(takes); i++) {
		expect_refused(takes[i].name, takes[i].text, EPERM, 0);
		expect_unchanged(fd, &before, words("%s stored in %s without CAP_SYS_ADMIN",
						    takes[i].text, takes[i].name));
	}
}

static int opened[COUNT(takes)];

static void write_opened(int unused)
{
	(void)unused;
	become_user();
	for (size_t i = 0; i < COUNT(takes); i++) {
		ssize_t n = write(opened[i], takes[i].text, strlen(takes[i].text));

		expect(n == -1 && errno == EPERM,
		       words("write() to %s, opened by root, by user 1000", takes[i].name),
		       "-1 (EPERM)", "%s", result(n));
	}
}

SOLO(sysfs_asks_who_writes_not_who_opened,
     .says = "a file opened by root and written by a user gets EPERM: the writer counts",
     .page = "lab6.md#privilege", .stages = FROM_STAGE(6), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct state before;

	device_send_numbers(fd, 0, 3);
	before = state_of(fd);
	for (size_t i = 0; i < COUNT(takes); i++)
		opened[i] = open_file(takes[i].name, O_WRONLY);
	apart(write_opened, 0);
	expect_unchanged(fd, &before, "write() by user 1000 to files that root opened");

	/* The other way round. */
	be_admin(false);
	fd = open_file("max_msgs", O_WRONLY);
	be_admin(true);
	expect_value(write(fd, "5", 1), 1);
}

static void write_as_root_of_a_namespace(int unused)
{
	int map;

	(void)unused;
	/* A kernel without user namespaces has no such root. */
	if (unshare(CLONE_NEWUSER) && errno == EINVAL)
		return;
	map = open("/proc/self/uid_map", O_WRONLY);
	expect_value(write(map, "0 0 1\n", 6), 6);
	for (size_t i = 0; i < COUNT(takes); i++) {
		int fd = try_open(takes[i].name, O_WRONLY);
		ssize_t n = fd < 0 ? fd : write(fd, takes[i].text, strlen(takes[i].text));

		expect(n == -1 && (errno == EPERM || errno == EACCES),
		       words("write() to %s by root of a user namespace", takes[i].name),
		       "-1 (EPERM)", "%s", result(n));
		close(fd);
	}
}

SOLO(sysfs_refuses_root_of_a_namespace,
     .says = "root of a user namespace, which anybody can become, may not store",
     .page = "lab6.md#privilege", .stages = FROM_STAGE(6), .as_root = true)
{
	int fd = device_open(O_RDWR);
	struct state before;

	device_send_numbers(fd, 0, 3);
	before = state_of(fd);
	apart(write_as_root_of_a_namespace, 0);
	expect_unchanged(fd, &before, "write() by root of a user namespace");
}

/* -- clear_queue -------------------------------------------------------------------- */

SOLO(sysfs_clear_drops_all,
     .says = "1 written to clear_queue drops all messages and counts them",
     .page = "lab6.md#clear", .stages = FROM_STAGE(6), .as_root = true)
{
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 5);
	store_text("clear_queue", "1");
	device_expect_empty(fd);
	expect_shows("queued", 0, "5 messages, 1 written to clear_queue");
	expect_shows("cleared", 5, "5 messages, 1 written to clear_queue");
	expect_value(stats_of(fd).cleared, 5);
	device_send_numbers(fd, 5, 2);
	expect_value(ioctl(fd, KMSGPIPE_CLEAR_QUEUE), 2);
	device_send_numbers(fd, 7, 4);
	store_text("clear_queue", "1\n");
	expect_shows("cleared", 11, "5 cleared by sysfs, 2 by ioctl, 4 by sysfs");
	expect_value(stats_of(fd).cleared, 11);
	/* Nothing to clear is no error. */
	store_text("clear_queue", "1\n");
	expect_shows("cleared", 11, "an empty queue cleared");
	device_send_numbers(fd, 11, 1);
	device_expect_numbers(fd, 11, 1);
}

SOLO(sysfs_clear_takes_a_1_only,
     .says = "anything but 1 in clear_queue is refused, and nothing is dropped",
     .page = "lab6.md#clear", .stages = FROM_STAGE(6), .as_root = true)
{
	static const char *const texts[] = {
		"0", "0\n", "2", "11", "-1", "yes", "y", "on", "true", "\n", " ", "1x", "1 1",
		"1.0", "4294967297", "18446744073709551617"
	};
	int fd = device_open(O_RDWR);
	struct state before;

	device_send_numbers(fd, 0, 3);
	before = state_of(fd);
	for (size_t i = 0; i < COUNT(texts); i++) {
		/* The last ones are no 1 and too large for a number. */
		expect_refused("clear_queue", texts[i], EINVAL, strlen(texts[i]) > 9 ? ERANGE : 0);
		expect_unchanged(fd, &before, words("\"%s\" written to clear_queue", texts[i]));
	}
	expect_value(store_bytes("clear_queue", "", 0), 0);
	expect_unchanged(fd, &before, "write() of nothing to clear_queue");
	device_expect_numbers(fd, 0, 3);
}

#define SLEEPERS 3

static void start_writers(struct caller **writers, int fd)
{
	for (int i = 0; i < SLEEPERS; i++)
		writers[i] = start_writer(fd, "late");
	for (int i = 0; i < SLEEPERS; i++)
		wait_asleep(writers[i]);
}

SOLO(sysfs_clear_wakes_writers,
     .says = "1 written to clear_queue wakes all writers that there is room for",
     .page = "lab6.md#clear", .stages = FROM_STAGE(6), .as_root = true, .params = "max_msgs=3")
{
	struct caller *writers[SLEEPERS];
	int fd = device_open(O_RDWR);

	device_send_numbers(fd, 0, 3);
	start_writers(writers, fd);
	store("clear_queue", 1);
	for (int i = 0; i < SLEEPERS; i++)
		wait_returned(writers[i], 4, "it wakes: 3 slots were cleared for 3 writers");
	for (int i = 0; i < SLEEPERS; i++)
		device_expect_text(fd, "late");
	device_expect_empty(fd);
}

/* -- what a store does -------------------------------------------------------------- */

SOLO(sysfs_more_room_wakes_writers,
     .says = "a larger max_msgs wakes all writers that there is room for",
     .page = "lab6.md#two-planes", .stages = FROM_STAGE(6), .as_root = true,
     .params = "max_msgs=1")
{
	struct caller *writers[SLEEPERS];
	int fd = device_open(O_RDWR);

	device_send_text(fd, "full");
	start_writers(writers, fd);
	store("max_msgs", 1 + SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		wait_returned(writers[i], 4, "it wakes: max_msgs was 1 and is 4 now");
	expect_shows("queued", 1 + SLEEPERS, "3 writers woken");
}

SOLO(sysfs_lower_limits_lose_nothing,
     .says = "limits lower than what is queued lose and cut no message",
     .page = "lab6.md#two-planes", .stages = FROM_STAGE(6), .as_root = true)
{
	int fd = device_open(O_RDWR | O_NONBLOCK);

	device_send_numbers(fd, 0, 5);
	store("max_msgs", 2);
	store("msg_size", 1);
	expect_shows("queued", 5, "5 messages, then max_msgs lowered to 2");
	expect_errno(write(fd, "x", 1), EAGAIN);
	device_expect_numbers(fd, 0, 3);
	expect_errno(write(fd, "x", 1), EAGAIN);
	device_expect_numbers(fd, 3, 1);
	device_send_text(fd, "x");
	device_expect_numbers(fd, 4, 1);
	device_expect_text(fd, "x");
	device_expect_empty(fd);
}

/* Not a condition: in this time those show themselves that drop what should stay. */
static void expect_stays(int fd, const char *after)
{
	unsigned int expired = stats_of(fd).expired;

	device_send_text(fd, "here to stay");
	for (int i = 0; i < A_WHILE; i++)
		wait_a_moment();
	expect(stats_of(fd).expired == expired, after, "messages stay", "one has expired");
	device_expect_text(fd, "here to stay");
}

SOLO(sysfs_ttl_makes_messages_expire,
     .says = "ttl_ms makes messages expire, also those in the queue; 0 stops that",
     .page = "lab6.md#two-planes", .stages = FROM_STAGE(6), .as_root = true,
     .params = "ttl_ms=0 cleanup_interval_ms=1")
{
	int fd = device_open(O_RDWR);

	expect_stays(fd, "insmod with ttl_ms=0");
	device_send_text(fd, "old");
	store("ttl_ms", 1);
	wait_expired(fd, 1);
	expect_shows("expired", 1, "1 stored in ttl_ms");
	store("ttl_ms", 0);
	expect_stays(fd, "0 stored in ttl_ms");
}

SOLO(sysfs_interval_starts_and_stops_the_cleanup,
     .says = "cleanup_interval_ms starts the cleanup at once; 0 stops it",
     .page = "lab6.md#two-planes", .stages = FROM_STAGE(6), .as_root = true,
     .params = "ttl_ms=1 cleanup_interval_ms=0")
{
	int fd = device_open(O_RDWR);

	device_send_text(fd, "old");
	store("cleanup_interval_ms", 1);
	wait_expired(fd, 1);
	store("cleanup_interval_ms", 0);
	/* A cleanup that was on its way then may still be. */
	for (int i = 0; i < A_WHILE / 4; i++)
		wait_a_moment();
	expect_stays(fd, "0 stored in cleanup_interval_ms");
	/* An interval of a day was no reason to wait for the end of it. */
	store("cleanup_interval_ms", KMSGPIPE_CLEANUP_MS_MAX);
	device_send_text(fd, "old");
	store("cleanup_interval_ms", 1);
	wait_expired(fd, 2);
}

/* -- both planes at once ------------------------------------------------------------ */

static void write_for_ever(int unused)
{
	int fd = device_open(O_WRONLY | O_NONBLOCK);

	(void)unused;
	for (;;)
		if (write(fd, "traffic", 7) < 0)
			sched_yield();
}

/* So slowly that messages expire. */
static void read_for_ever(int unused)
{
	int fd = device_open(O_RDONLY | O_NONBLOCK);

	(void)unused;
	do
		device_has_message(fd);
	while (wait_a_moment());
}

#define COUNTERS 4

static const char *const counters[COUNTERS] = { "written", "read", "cleared", "expired" };

static unsigned long long last_seen[COUNTERS];

static void look(int counter, unsigned long long value, const char *where)
{
	expect(value >= last_seen[counter],
	       words("%s by %s, after the other plane", counters[counter], where),
	       words("%llu or more, as it was before", last_seen[counter]), "%llu", value);
	last_seen[counter] = value;
}

static bool all_counters_moved(void)
{
	return last_seen[0] && last_seen[1] && last_seen[2] && last_seen[3];
}

TEST(sysfs_and_ioctl_never_disagree,
     .says = "amid traffic a counter seen in one plane is never less in the other",
     .page = "lab6.md#two-planes", .stages = FROM_STAGE(6), .as_root = true, .seconds = 15,
     .params = "max_msgs=8 ttl_ms=1 cleanup_interval_ms=1")
{
	int fd = device_open(O_RDWR);

	start(write_for_ever, 0);
	start(read_for_ever, 0);
	for (int round = 0; round < 300 || !all_counters_moved(); round++) {
		struct kmsgpipe_stats stats = stats_of(fd);

		look(0, stats.written, "ioctl");
		look(1, stats.read, "ioctl");
		look(2, stats.cleared, "ioctl");
		look(3, stats.expired, "ioctl");
		for (int i = 0; i < COUNTERS; i++)
			look(i, show(counters[i]), "sysfs");
		if (round % 16 == 0)
			store("clear_queue", 1);
		if (round % 16 == 8)
			expect(ioctl(fd, KMSGPIPE_CLEAR_QUEUE) >= 0, "KMSGPIPE_CLEAR_QUEUE",
			       "0 or more", "%s", result(-1));
		if (round >= 300 && !wait_a_moment())
			test_fail("a writer, a slow reader, a short ttl_ms, clear_queue",
				  "all counters count", "%llu, %llu, %llu, %llu", last_seen[0],
				  last_seen[1], last_seen[2], last_seen[3]);
	}
}

/* -- unloading ---------------------------------------------------------------------- */

static void expect_gone(ssize_t ret, const char *call)
{
	expect(ret == -1 && errno == ENODEV, words("%s of a sysfs file opened before rmmod", call),
	       "-1 (ENODEV)", "%s", result(ret));
}

SOLO(open_sysfs_file_does_not_stop_rmmod,
     .says = "rmmod works while a sysfs file is open; that file then gets ENODEV",
     .page = "lab6.md#unloading", .stages = FROM_STAGE(6), .loads_itself = true, .as_root = true)
{
	int counter, setting, clear;
	char buf[16];

	expect_value(module_load(NULL), 0);
	counter = open_file("queued", O_RDONLY);
	setting = open_file("ttl_ms", O_RDWR);
	clear = open_file("clear_queue", O_WRONLY);
	expect_value(read(counter, buf, sizeof(buf)), 2);
	expect_value(write(setting, "5000", 4), 4);
	expect_value(module_unload(), 0);
	/* And the files of a new load are others. */
	for (int i = 0; i < 2; i++) {
		expect_gone(pread(counter, buf, sizeof(buf), 0), "read()");
		expect_gone(pread(setting, buf, sizeof(buf), 0), "read()");
		expect_gone(write(setting, "5000", 4), "write()");
		expect_gone(write(clear, "1", 1), "write()");
		if (!i)
			expect_value(module_load(NULL), 0);
	}
	expect_shows("ttl_ms", KMSGPIPE_TTL_MS, "5000 stored, rmmod, insmod");
	close(counter);
	close(setting);
	close(clear);
	expect_value(module_unload(), 0);
}

/* How many calls succeeded so far. */
static int *used;

static void use(const char *name, int flags, ssize_t (*call)(int fd))
{
	int fd = try_open(name, flags), error;
	ssize_t n = fd < 0 ? fd : call(fd);

	error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	expect(n > 0 || errno == ENOENT || errno == ENODEV,
	       words("%s amid insmod and rmmod", name), "it works, ENOENT or ENODEV", "%s",
	       result(n));
	if (n > 0)
		__atomic_add_fetch(used, 1, __ATOMIC_SEQ_CST);
}

static ssize_t read_some(int fd)
{
	char buf[64];

	return read(fd, buf, sizeof(buf));
}

static ssize_t write_1(int fd)
{
	return write(fd, "1\n", 2);
}

static void read_files_for_ever(int unused)
{
	(void)unused;
	for (;; wait_grace_period())
		for (size_t i = 0; i < COUNT(files); i++)
			if (files[i].mode != 0200)
				use(files[i].name, O_RDONLY, read_some);
}

static void write_files_for_ever(int unused)
{
	(void)unused;
	for (;; wait_grace_period())
		for (size_t i = 0; i < COUNT(takes); i++)
			use(takes[i].name, O_WRONLY, write_1);
}

/* Files that are open already need no name: they get in until the last moment. */
static void write_interval_for_ever(int unused)
{
	(void)unused;
	for (;;) {
		int fd = try_open("cleanup_interval_ms", O_WRONLY);

		while (fd >= 0 && write_1(fd) > 0)
			;
		if (fd >= 0)
			close(fd);
		else
			sched_yield();
	}
}

TEST(unloads_amid_sysfs_traffic,
     .says = "50 times insmod and rmmod while others read and write all files: no harm",
     .page = "lab6.md#unloading", .stages = FROM_STAGE(6), .loads_itself = true, .as_root = true,
     .seconds = 20)
{
	used = shared_memory(sizeof(*used));
	start(read_files_for_ever, 0);
	start(write_files_for_ever, 0);
	start(write_interval_for_ever, 0);
	for (int i = 0; i < 50; i++) {
		int before = __atomic_load_n(used, __ATOMIC_SEQ_CST), ret;
		int fd;

		expect_value(module_load(NULL), 0);
		fd = device_open(O_RDWR | O_NONBLOCK);
		if (write(fd, "left over", 9) != 9 && errno != EAGAIN && errno != EMSGSIZE)
			test_fail("write() amid sysfs traffic", "9 or an error of the limits", "%s",
				  result(-1));
		close(fd);
		while (__atomic_load_n(used, __ATOMIC_SEQ_CST) < before + 20 && wait_a_moment())
			;
		do
			ret = module_unload();
		while (ret && (errno == EWOULDBLOCK || errno == EBUSY) && wait_a_moment());
		expect(!ret, "rmmod amid sysfs traffic", "0", "%s", result(ret));
	}
}

/* -- the log ------------------------------------------------------------------------ */

SOLO(sysfs_stores_are_logged,
     .says = "each store leaves a line in the kernel log", .page = "lab6.md#log",
     .stages = FROM_STAGE(6), .as_root = true)
{
	for (size_t i = 0; i < COUNT(takes); i++) {
		int before = log_lines_with("");

		store_text(takes[i].name, takes[i].text);
		expect(log_lines_with("") > before, words("%s written to %s", takes[i].text,
							  takes[i].name),
		       "a line in the kernel log", "none");
	}
}

static void expect_one_line(const char *name, const char *text, int error, int other)
{
	int before = log_lines_with(""), lines;

	expect_refused(name, text, error, other);
	lines = log_lines_with("") - before;
	expect(lines == 1, words("\"%s\" written to %s, and refused", text, name),
	       "one line in the kernel log", "%d", lines);
}

/* A few only in each test: what anyone can cause has a rate limit, ten at a time. */
SOLO(sysfs_logs_what_is_no_number,
     .says = "a store of what is no number leaves one line in the kernel log",
     .page = "lab6.md#log", .stages = FROM_STAGE(6), .as_root = true)
{
	for (size_t i = 0; i < COUNT(takes); i++)
		expect_one_line(takes[i].name, "abc", EINVAL, 0);
}

SOLO(sysfs_logs_what_is_out_of_range,
     .says = "a store of a number out of range leaves one line in the kernel log",
     .page = "lab6.md#log", .stages = FROM_STAGE(6), .as_root = true)
{
	for (size_t i = 0; i < COUNT(takes); i++)
		expect_one_line(takes[i].name, "86400001", EINVAL, ERANGE);
}

SOLO(sysfs_logs_who_may_not,
     .says = "a store without CAP_SYS_ADMIN leaves one line in the kernel log",
     .page = "lab6.md#log", .stages = FROM_STAGE(6), .as_root = true)
{
	be_admin(false);
	for (size_t i = 0; i < COUNT(takes); i++) {
		int before = log_lines_with(""), lines;

		expect_refused(takes[i].name, takes[i].text, EPERM, 0);
		lines = log_lines_with("") - before;
		expect(lines == 1, words("write() to %s without CAP_SYS_ADMIN", takes[i].name),
		       "one line in the kernel log", "%d", lines);
	}
}

static void read_many_times(int unused)
{
	int fd = open_file("queued", O_RDONLY);
	char text[16];

	(void)unused;
	become_user();
	for (int i = 0; i < rounds(2000); i++)
		expect_value(pread(fd, text, sizeof(text), 0), 2);
}

SOLO(sysfs_readers_cannot_flood_the_log,
     .says = "a user who reads a counter without end does not flood the kernel log",
     .page = "lab6.md#log", .stages = FROM_STAGE(6), .as_root = true)
{
	int lines;

	apart(read_many_times, 0);
	lines = log_lines_with("");
	expect(lines < 200, "read() of queued, many times", "a few lines in the kernel log",
	       "%d lines: they need a rate limit", lines);
}
