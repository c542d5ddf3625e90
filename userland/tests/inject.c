// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define DEBUGFS "/sys/kernel/debug/"

/* More than any call here has: loading a module takes a few hundred. */
#define MOST_FAULTS 2000

/* All code of modules is within so many bytes of any of them, and the kernel's is not. */
#define MODULE_AREA (32UL << 20)

/*
 * A driver may keep memory for later: then one call allocates and the next one does not. It
 * takes so many calls in a row in which nothing is left to fail.
 */
#define CALLS_WITHOUT 3

/*
 * What can fail, in words, and what the kernel calls it. Each has its turn, and is counted alone:
 * where a driver allocates now and then only, a copy would have now this number, now that. And
 * the slab allocator takes a page now and then only: an allocation behind it would be left out.
 */
static const struct sort {
	const char *word, *kind;
} sorts[] = {
	{ "allocation", "failslab" },
	{ "page allocation", "fail_page_alloc" },
	{ "user copy", "fail_usercopy" },
};

#define SORTS (sizeof(sorts) / sizeof(sorts[0]))

static bool set(const char *kind, const char *knob, const char *value)
{
	char path[96];
	bool done;
	int fd;

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", kind, knob);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	close(fd);
	return done;
}

/*
 * The kernel's checkers allocate beside each allocation, and get along without; no driver is told.
 * Were theirs to fail, too, it would take twice the calls and show nothing more. So the judge
 * boots with all caches marked but theirs (judge/cmdline.py); were no cache marked, nothing would
 * ever fail.
 */
static bool caches_are_marked(void)
{
	char mark = '0';
	int fd = open("/sys/kernel/slab/kmalloc-64/failslab", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && read(fd, &mark, 1) != 1)
		mark = '0';
	if (fd >= 0)
		close(fd);
	return mark == '1';
}

/* Code from @first to before @end. */
struct code {
	unsigned long first, end;
};

static const struct code none = { 1, 1 };
/* Code of which the allocations and copies count, with what it calls; and of which they do not. */
static struct code counts = { 0, ULONG_MAX }, spared = { 1, 1 };

/*
 * class_register() of Linux 6.6 calls kobject_set_name(), and if that has no memory frees a key
 * that lockdep still knows. No driver can help that.
 */
#define SPARED "kobject_set_name"

/* Where the kernel has a function of its own: up to where the next one begins. */
static struct code find_function(const char *wanted)
{
	struct code found = { 0, 0 };
	FILE *symbols = fopen("/proc/kallsyms", "r");
	char line[256], name[128];
	unsigned long at;

	expect(symbols, "open(\"/proc/kallsyms\")", "a file", "%s", result(-1));
	/* The kernel's own come first, in the order of their addresses. */
	while (!found.end && fgets(line, sizeof(line), symbols)) {
		if (sscanf(line, "%lx %*c %127s", &at, name) != 2)
			continue;
		if (!found.first && !strcmp(name, wanted))
			found.first = at;
		else if (found.first && at > found.first)
			found.end = at;
	}
	fclose(symbols);
	expect(found.end, "/proc/kallsyms", wanted, "no such function: no fault of the module");
	return found;
}

void fail_in_module_only(void)
{
	unsigned long code = 0;
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/module/%s/sections/.text", module_name);
	file = fopen(path, "r");
	expect(file && fscanf(file, "%lx", &code) == 1 && code, path,
	       "the address of the module's code", "%s", result(-1));
	fclose(file);
	counts = (struct code){ code - MODULE_AREA, code + MODULE_AREA };
	spared = find_function(SPARED);
}

static bool set_range(const char *kind, const char *which, struct code code)
{
	char knob[32], value[32];

	snprintf(knob, sizeof(knob), "%s-start", which);
	snprintf(value, sizeof(value), "%#lx", code.first);
	if (!set(kind, knob, value))
		return false;
	snprintf(knob, sizeof(knob), "%s-end", which);
	snprintf(value, sizeof(value), "%#lx", code.end);
	return set(kind, knob, value);
}

static bool set_up_kind(const char *kind, struct code require, struct code reject)
{
	return set(kind, "verbose", "0") && set_range(kind, "require", require) &&
	       set_range(kind, "reject", reject);
}

/* By default the kernel spares most allocations, and tells of each failure at length. */
static void set_up(const struct sort *counted)
{
	bool done = set("failslab", "cache-filter", caches_are_marked() ? "Y" : "N") &&
		    set("failslab", "ignore-gfp-wait", "N") &&
		    set("fail_page_alloc", "ignore-gfp-wait", "N") &&
		    set("fail_page_alloc", "min-order", "0");

	for (const struct sort *sort = sorts; sort < sorts + SORTS; sort++)
		done = done && set_up_kind(sort->kind, sort == counted ? counts : none, spared);
	expect(done, "write() to " DEBUGFS "fail*/*", "the kernel makes allocations fail on demand",
	       "%s: no fault of the module", result(-1));
}

static int open_fail_nth(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	expect(fd >= 0, "open(\"/proc/thread-self/fail-nth\")", "a file descriptor", "%s",
	       result(fd));
	return fd;
}

/*
 * Makes the call with number @n of what counts failing; true if there was one. No other
 * system call may come in between: reading the count is a copy, too.
 */
static bool make_call(int fail_nth, int n, long (*call)(void), struct outcome *outcome)
{
	char text[16], left[16] = "";
	int error;

	snprintf(text, sizeof(text), "%d", n);
	expect_value(pwrite(fail_nth, text, strlen(text), 0), (long)strlen(text));
	errno = 0;
	outcome->ret = call();
	error = errno;
	/* It is this copy that fails if one was left: so there is none at all in @left. */
	outcome->last = pread(fail_nth, left, sizeof(left) - 1, 0) < 0 || atoi(left);
	/* The same here: it says 0 afterwards, either way. */
	if (pwrite(fail_nth, "0", 1, 0) < 0 && errno != EFAULT)
		test_fail("write() of 0 to fail-nth", "1", "%s", result(-1));
	errno = error;
	outcome->failed = outcome->ret == -1;
	return !outcome->last;
}

/* Of one sort: each fails once; how many there were. */
static int fail_each_of(const struct sort *sort, int fail_nth, const char *doing,
			long (*call)(void), void (*check)(const struct outcome *outcome))
{
	int n = 1, without = 0;

	set_up(sort);
	while (without < CALLS_WITHOUT) {
		struct outcome outcome;
		bool one = make_call(fail_nth, n, call, &outcome);

		snprintf(outcome.did, sizeof(outcome.did),
			 one ? "%s, and %s number %d in it fails"
			     : "%s, where nothing fails: it has no %s number %d",
			 doing, sort->word, n);
		expect(!outcome.failed || (one && (errno == ENOMEM || errno == EFAULT)),
		       outcome.did, one ? "-1 (ENOMEM), -1 (EFAULT), or success" : "success", "%s",
		       result(outcome.ret));
		check(&outcome);
		without = one ? 0 : without + 1;
		n += one;
		expect(n <= MOST_FAULTS, doing, "it comes to an end", "%d of %s", n, sort->word);
	}
	return n - 1;
}

int fail_each(const char *doing, long (*call)(void), void (*check)(const struct outcome *outcome))
{
	int fail_nth = open_fail_nth(), count = 0;

	/* A page fault of ours may need memory, too: let none be left for later. */
	expect(!mlockall(MCL_CURRENT | MCL_FUTURE), "mlockall()", "0", "%s", result(-1));
	for (size_t i = 0; i < SORTS; i++)
		count += fail_each_of(&sorts[i], fail_nth, doing, call, check);
	close(fail_nth);
	return count;
}
