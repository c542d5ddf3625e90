// SPDX-License-Identifier: GPL-2.0
/*
 * Lost memory, as kmemleak sees it (Documentation/dev-tools/kmemleak.rst).
 *
 * A scan reads all of the kernel's memory, and kmemleak tells of no object that is
 * younger than five seconds, or what PID 1 could make of these (guest/kmemleak.c). So nobody
 * scans after each test, but once, after all of them. Who has allocated an object is then
 * known by the process that did: processes are numbered in the order of their begin, and so
 * in that of the tests.
 *
 * It takes two scans: of an object that has changed since the scan before, or that is
 * seen for the first time, kmemleak tells nothing; unless PID 1 knows that this one does. There is
 * no need to clear the list before: what was lost earlier belongs to processes from before
 * the first test.
 */
#include "leaks.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
#define MIN_AGE_MS	5000
/* Set by PID 1 if it is less: LEAK_AGE in guest/kmemleak.h. */
#define AGE_VARIABLE	"KMEMLEAK_AGE_MS"
/* Set by PID 1 for a kernel that needs one scan: LEAK_SCANS there. */
#define SCANS_VARIABLE	"KMEMLEAK_SCANS"
/* What a scan may take on the reference machine. */
#define SCAN_SECONDS	10
#define MAX_MARKS	1000
#define MAX_LEAKS	20

static struct {
	const char *name;
	int last_pid;
} marks[MAX_MARKS];

static size_t mark_count;

/* The number of the process that was started last, whoever started it. */
static int last_pid(void)
{
	static int fd = -1;
	char text[64] = "";
	int pid;

	if (fd < 0)
		fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return sscanf(text, "%*s %*s %*s %*s %d", &pid) == 1 ? pid : 0;
}

bool leaks_are_watched(void)
{
	return !access(KMEMLEAK, W_OK);
}

void leaks_begin(const char *name)
{
	if (mark_count == MAX_MARKS || !leaks_are_watched())
		return;
	marks[mark_count].name = name;
	marks[mark_count++].last_pid = last_pid();
}

static const char *test_of(int pid)
{
	const char *name = NULL;

	for (size_t i = 0; i < mark_count && pid > marks[i].last_pid; i++)
		name = marks[i].name;
	return name;
}

/* Returns false where kmemleak is switched off; then there is nothing to see. */
static bool scan(void)
{
	int fd = open(KMEMLEAK, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, "scan", 4) == 4;
	close(fd);
	return done;
}

static void wait_until(long long ms)
{
	long long left;

	while ((left = ms - now_ms()) > 0) {
		struct timespec pause = { .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000 };

		nanosleep(&pause, NULL);
	}
}

/*
 * A dump of the object could show a message's text, and helps nobody. Its lines have two
 * digits and a blank, again and again; those of the backtrace have names, with an address in
 * front of them in older kernels.
 */
static bool is_dump(const char *line)
{
	return strstr(line, "hex dump") ||
	       (!strncmp(line, "    ", 4) && isxdigit((unsigned char)line[4]) &&
		isxdigit((unsigned char)line[5]) && line[6] == ' ');
}

static void print_leaks(FILE *file)
{
	char line[512], head[512] = "";
	const char *name = NULL;
	int pid, shown = 0;

	while (shown <= MAX_LEAKS && fgets(line, sizeof(line), file)) {
		const char *where = strstr(line, ", pid ");

		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "unreferenced object", 19)) {
			snprintf(head, sizeof(head), "%s", line);
			name = NULL;
		} else if (*head && where && sscanf(where, ", pid %d", &pid) == 1) {
			name = test_of(pid);
			if (name && ++shown <= MAX_LEAKS)
				printf("# leak %s\n# | %s\n# | %s\n", name, head, line);
			*head = '\0';
		} else if (name && shown <= MAX_LEAKS && !is_dump(line)) {
			printf("# | %s\n", line);
		}
	}
}

/* So old is what kmemleak tells of. */
static int min_age_ms(void)
{
	const char *shorter = getenv(AGE_VARIABLE);

	return shorter ? atoi(shorter) : MIN_AGE_MS;
}

#define STACKS 4

/*
 * The kernel keeps the stacks of processes that have ended for the next ones, and wipes them then.
 * Until that, what a stack has left of a pointer passes for one: so some processes take them.
 */
static void wipe_stacks(void)
{
	pid_t pids[STACKS];

	for (int i = 0; i < STACKS; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			pause();
			_exit(0);
		}
	}
	for (int i = 0; i < STACKS; i++) {
		if (pids[i] < 0)
			continue;
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

void leaks_report(double scale)
{
	/* Ages are in jiffies, and the first one has begun already. */
	long long old_enough = now_ms() + min_age_ms() + 20;
	const bool once = getenv(SCANS_VARIABLE);
	FILE *file;

	if (!mark_count)
		return;
	printf("# leaks %.1f\n", min_age_ms() / 1000. + 2 * SCAN_SECONDS * scale);
	fflush(stdout);
	wipe_stacks();
	/* Who takes which lock is of no interest any more, and a scan takes several per object. */
	write_file("/proc/sys/kernel/prove_locking", "0");
	if (!once && !scan())
		return;
	wait_until(old_enough);
	if (!scan())
		return;
	file = fopen(KMEMLEAK, "r");
	if (!file)
		return;
	print_leaks(file);
	fclose(file);
	fflush(stdout);
}
