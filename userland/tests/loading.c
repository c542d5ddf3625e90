// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading: the node, the parameters, and what is left behind. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"
#include "module.h"

SOLO(module_loads_and_unloads,
     .says = "the module loads and unloads", .page = "lab1.md#loading", .stages = ALL_STAGES)
{
	/* The runner loads it before and unloads it after every test. */
}

/* Judges no stage: `make reports` runs it with modules of which each has one bug. */
SOLO(kernel_reports_it,
     .says = "the kernel reports the module's bug", .page = "lab1.md#loading", .stages = 0,
     .seconds = 20)
{
	/* All happens when the module is loaded, or when it is unloaded. */
}

SOLO(node_appears_and_goes,
     .says = "the node appears with the module and goes with it", .page = "lab1.md#node",
     .stages = ALL_STAGES, .loads_itself = true, .as_root = true)
{
	struct stat st;

	expect_errno(stat(KMSGPIPE_NODE, &st), ENOENT);
	expect_value(module_load(NULL), 0);
	expect_value(stat(KMSGPIPE_NODE, &st), 0);
	expect(S_ISCHR(st.st_mode), "stat(\"" KMSGPIPE_NODE "\")", "a character device",
	       "mode 0%o", st.st_mode);
	expect_value(module_unload(), 0);
	expect_errno(stat(KMSGPIPE_NODE, &st), ENOENT);
}

SOLO(ordinary_user_can_read_and_write,
     .says = "an ordinary user may open the node to read and write", .page = "lab1.md#node",
     .stages = ALL_STAGES)
{
	struct stat st;

	expect_value(stat(KMSGPIPE_NODE, &st), 0);
	expect((st.st_mode & 0777) == 0666, "stat(\"" KMSGPIPE_NODE "\")", "mode 0666", "mode 0%o",
	       st.st_mode & 0777);
	close(device_open(O_RDONLY));
	close(device_open(O_WRONLY));
	close(device_open(O_RDWR));
}

SOLO(second_load_is_refused,
     .says = "a second insmod is refused, and the device works on", .page = "lab1.md#loading",
     .stages = ALL_STAGES, .as_root = true)
{
	int fd = device_open(O_RDWR);

	expect_errno(module_load(NULL), EEXIST);
	device_send_text(fd, "still here");
	close(fd);
	fd = device_open(O_RDWR);
	device_expect_text(fd, "still here");
}

SOLO(unload_is_refused_while_open,
     .says = "rmmod is refused while a file is open", .page = "lab1.md#unloading",
     .stages = ALL_STAGES, .as_root = true)
{
	int fd = device_open(O_RDWR), ret = module_unload();

	/* rmmod asks with O_NONBLOCK: the kernel then says EWOULDBLOCK for "in use". */
	expect(ret == -1 && (errno == EBUSY || errno == EWOULDBLOCK), "rmmod while a file is open",
	       "refused: the module is in use", "%s", result(ret));
	device_send_text(fd, "still here");
}

SOLO(failed_load_leaves_nothing_behind,
     .says = "a load that fails can be tried again", .page = "lab2.md#parameters",
     .stages = FROM_STAGE(2), .loads_itself = true, .as_root = true)
{
	struct stat st;

	for (int i = 0; i < 3; i++) {
		expect_errno(module_load("max_msgs=0"), EINVAL);
		expect_errno(stat(KMSGPIPE_NODE, &st), ENOENT);
		expect_value(module_load("max_msgs=1"), 0);
		expect_value(module_unload(), 0);
	}
}

SOLO(parameters_out_of_range_are_refused,
     .says = "a parameter out of range is refused with EINVAL; the log names its range",
     .page = "lab2.md#parameters", .stages = FROM_STAGE(2), .loads_itself = true, .as_root = true)
{
	static const struct {
		const char *params, *name, *max;
	} table[] = {
		{ "max_msgs=0", "max_msgs", "65536" },
		{ "max_msgs=65537", "max_msgs", "65536" },
		{ "max_msgs=4294967295", "max_msgs", "65536" },
		{ "max_msgs=-1", "max_msgs", "65536" },
		{ "msg_size=-1", "msg_size", "4096" },
		{ "msg_size=0", "msg_size", "4096" },
		{ "msg_size=4097", "msg_size", "4096" },
		{ "msg_size=2147483648", "msg_size", "4096" },
	};
	static const char *const negative[] = { "max_msgs=-1", "msg_size=-1" };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char did[64];
		int names = log_lines_with(table[i].name), ranges = log_lines_with(table[i].max);
		int ret = module_load(table[i].params);

		snprintf(did, sizeof(did), "insmod %s", table[i].params);
		/* A parameter of type int: the kernel itself refuses what does not fit. */
		if (ret == -1 && errno == ERANGE)
			continue;
		expect(ret == -1 && errno == EINVAL, did, "-1 (EINVAL)", "%s", result(ret));
		/* Of an unsigned parameter the kernel itself refuses these, in its own words. */
		if (strchr(table[i].params, '-'))
			continue;
		expect(log_lines_with(table[i].name) > names, did,
		       "a line in the kernel log that names the parameter", "none has %s",
		       table[i].name);
		expect(log_lines_with(table[i].max) > ranges, did,
		       "a line in the kernel log that names the range", "none has %s",
		       table[i].max);
	}
	/* Where a parameter is unsigned the kernel itself refuses these, without a line. */
	for (size_t i = 0; i < sizeof(negative) / sizeof(negative[0]); i++) {
		char did[64];
		int ret = module_load(negative[i]);

		snprintf(did, sizeof(did), "insmod %s", negative[i]);
		expect(ret == -1 && (errno == EINVAL || errno == ERANGE), did, "-1 (EINVAL)", "%s",
		       result(ret));
	}
}

static void check_limits(const char *params, int msgs, size_t size)
{
	static const char data[KMSGPIPE_MSG_SIZE_MAX + 1];
	char did[96];
	ssize_t n;
	int fd, i;

	/* Filling the queue takes long: nothing is to expire meanwhile. */
	snprintf(did, sizeof(did), "%s%s", params, stage_number > 4 ? " ttl_ms=0" : "");
	expect_value(module_load(did), 0);
	fd = device_open(O_RDWR | O_NONBLOCK);
	snprintf(did, sizeof(did), "insmod %s, write() of %zu bytes", params, size + 1);
	n = write(fd, data, size + 1);
	expect(n == -1 && errno == EMSGSIZE, did, "-1 (EMSGSIZE)", "%s", result(n));
	snprintf(did, sizeof(did), "insmod %s, write() of no more than msg_size bytes", params);
	for (i = 0; i < msgs; i++) {
		n = write(fd, data, i ? 1 : size);
		expect(n == (i ? 1 : (ssize_t)size), did, i ? "1" : number(size), "%s", result(n));
	}
	snprintf(did, sizeof(did), "insmod %s, %d messages, one more write()", params, msgs);
	n = write(fd, data, 1);
	expect(n == -1 && errno == (stage_number == 2 ? ENOSPC : EAGAIN), did,
	       stage_number == 2 ? "-1 (ENOSPC)" : "-1 (EAGAIN)", "%s", result(n));
	close(fd);
	expect_value(module_unload(), 0);
}

SOLO(parameters_at_their_limits_hold,
     .says = "max_msgs and msg_size hold at 1 and at their maximum", .page = "lab2.md#parameters",
     .stages = FROM_STAGE(2), .loads_itself = true, .as_root = true, .seconds = 20)
{
	check_limits("max_msgs=1", 1, KMSGPIPE_MSG_SIZE);
	check_limits("max_msgs=2 msg_size=1", 2, 1);
	check_limits("max_msgs=2 msg_size=4096", 2, KMSGPIPE_MSG_SIZE_MAX);
	/* A minute's work for a kernel that checks each step, and nothing more to see there. */
	if (rounds(KMSGPIPE_MAX_MSGS_MAX) == KMSGPIPE_MAX_MSGS_MAX)
		check_limits("max_msgs=65536 msg_size=16", KMSGPIPE_MAX_MSGS_MAX, 16);
	check_limits("", KMSGPIPE_MAX_MSGS, KMSGPIPE_MSG_SIZE);
}

static void load_use_unload(int round)
{
	int fd;

	(void)round;
	expect_value(module_load(NULL), 0);
	fd = device_open(O_RDWR);
	device_send_numbers(fd, 0, stage_number == 1 ? 1 : 20);
	close(fd);
	expect_value(module_unload(), 0);
}

SOLO(loads_and_unloads_again_and_again,
     .says = "load, use, unload with messages queued, again and again", .page = "lab2.md#memory",
     .stages = ALL_STAGES, .loads_itself = true, .as_root = true, .seconds = 20)
{
	int numbers = device_numbers(), left;
	long growth = slab_growth(load_use_unload, 1, rounds(99));

	left = device_numbers() - numbers;
	expect(!left, "insmod, rmmod, again and again", "every device number is given back",
	       "%d more in /proc/devices than before", left);
	expect(growth < SLAB_NOISE, "insmod, 20 messages written, rmmod, again and again",
	       "every byte is freed again",
	       "%ld more objects in the kernel's slab caches than before", growth);
}
