// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "module.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "leaks.h"

/* How long to look whether memory is freed yet. */
#define SETTLE_MS 1500

/* What tell_sections() has told, by whatever process of the runner's. */
static char *told;
#define TOLD_SIZE 256

void share_what_is_told(void)
{
	told = mmap(NULL, TOLD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED)
		told = NULL;
}

/* Appends " SECTION=ADDRESS", if the module has that section. */
static void add_section(const char *name, char *line, size_t size)
{
	char path[128], address[32];
	size_t len = strlen(line);
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/module/%s/sections/%s", module_name, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, address, sizeof(address) - 1);
	close(fd);
	address[n > 0 ? n : 0] = '\0';
	address[strcspn(address, "\n")] = '\0';
	if (*address)
		snprintf(line + len, size - len, " %s=%s", name, address);
}

/*
 * Says where the module's code is: once it is unloaded, reports name addresses only. Mostly it
 * gets the same place each time. To read all of this takes as long as half of the loading, so
 * only the two pieces that have a place of their own are looked at first.
 */
static void tell_sections(void)
{
	static char own[TOLD_SIZE];
	char line[TOLD_SIZE] = "# text", *known = told ? told : own;

	add_section(".text", line, sizeof(line));
	add_section(".init.text", line, sizeof(line));
	if (!strncmp(known, line, strlen(line)))
		return;
	add_section(".text.unlikely", line, sizeof(line));
	add_section(".exit.text", line, sizeof(line));
	dprintf(STDOUT_FILENO, "%s\n", line);
	memcpy(known, line, sizeof(line));
}

int module_load(const char *params)
{
	int fd = open(module_path, O_RDONLY | O_CLOEXEC);
	int ret, error;

	if (fd < 0)
		return -1;
	ret = syscall(SYS_finit_module, fd, params ? params : "", 0);
	error = errno;
	close(fd);
	if (!ret)
		tell_sections();
	errno = error;
	return ret;
}

int module_unload(void)
{
	return syscall(SYS_delete_module, module_name, O_NONBLOCK);
}

bool module_is_loaded(void)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "/sys/module/%s/initstate", module_name);
	return !stat(path, &st);
}

void forget_log(void)
{
	/* Nothing is lost: the next reader only begins here. The host has the console's copy. */
	klogctl(5 /* SYSLOG_ACTION_CLEAR */, NULL, 0);
}

/* Calls @take for each record of the kernel log since forget_log(), oldest first. */
static void read_log(void (*take)(const char *record, void *data), void *data)
{
	char record[4096];
	ssize_t n;
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_DATA);
	while (fd >= 0) {
		n = read(fd, record, sizeof(record) - 1);
		/* -EPIPE: records were overwritten before we read them; go on. */
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			break;
		record[n] = '\0';
		take(record, data);
	}
	if (fd >= 0)
		close(fd);
}

struct search {
	const char *text;
	int count;
};

static void count_record(const char *record, void *data)
{
	struct search *search = data;

	if (strstr(record, search->text))
		search->count++;
}

int log_lines_with(const char *text)
{
	struct search search = { .text = text };

	read_log(count_record, &search);
	return search.count;
}

#define SHOWN 6

struct tail {
	char lines[SHOWN][128];
	unsigned int count;
};

/*
 * A record is "PRIORITY,NUMBER,TIME,FLAGS;TEXT", then lines for programs
 * (Documentation/ABI/testing/dev-kmsg).
 */
static void keep_record(const char *record, void *data)
{
	const char *text = strchr(record, ';');
	struct tail *tail = data;

	if (text && !strstr(record, ";judge: "))
		snprintf(tail->lines[tail->count++ % SHOWN], sizeof(tail->lines[0]), "%.*s",
			 (int)strcspn(text + 1, "\n"), text + 1);
}

void show_log(void)
{
	struct tail tail = { .count = 0 };
	unsigned int i;

	read_log(keep_record, &tail);
	for (i = tail.count > SHOWN ? tail.count - SHOWN : 0; i < tail.count; i++)
		printf("# log: %s\n", tail.lines[i % SHOWN]);
}

/* Makes the allocator give back what it keeps for each CPU, so that only what is in use counts. */
static void shrink_slabs(void)
{
	DIR *slabs = opendir("/sys/kernel/slab");
	struct dirent *entry;
	char path[300];

	while (slabs && (entry = readdir(slabs))) {
		int fd;

		if (strncmp(entry->d_name, "kmalloc-", 8))
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", entry->d_name);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (write(fd, "1", 1) != 1)
			test_note("%s: %s", path, strerror(errno));
		close(fd);
	}
	if (slabs)
		closedir(slabs);
}

void wait_grace_period(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

#define MOST_CACHES 200

/* How many objects of which cache are in use. */
struct slabs {
	int count;
	long total;
	struct {
		char name[32];
		long active;
	} caches[MOST_CACHES];
};

static void count_slabs(struct slabs *slabs)
{
	char line[512];
	FILE *info;

	wait_grace_period();
	shrink_slabs();
	info = fopen("/proc/slabinfo", "r");
	expect(info, "open(\"/proc/slabinfo\")", "a file", "%s", result(-1));
	slabs->count = 0;
	slabs->total = 0;
	while (slabs->count < MOST_CACHES && fgets(line, sizeof(line), info)) {
		char *name = slabs->caches[slabs->count].name;
		long *active = &slabs->caches[slabs->count].active;

		if (sscanf(line, "%31s %ld", name, active) != 2 || strncmp(name, "kmalloc-", 8))
			continue;
		slabs->total += *active;
		slabs->count++;
	}
	fclose(info);
}

long slab_objects(void)
{
	static struct slabs slabs;

	count_slabs(&slabs);
	return slabs.total;
}

/* Which cache has grown most: its name says how large the objects are at most. */
static void tell_growth(const struct slabs *before, const struct slabs *after)
{
	long most = 0;

	for (int i = 0; i < after->count; i++)
		for (int j = 0; j < before->count; j++) {
			long more = after->caches[i].active - before->caches[j].active;

			if (strcmp(after->caches[i].name, before->caches[j].name) || more <= most)
				continue;
			most = more;
			test_note("%ld of them in %s", more, after->caches[i].name);
		}
}

/* Some memory is freed a bit later. What is leaked never is. */
static long settled_growth(const struct slabs *before, struct slabs *after)
{
	const long long until = now_ms() + SETTLE_MS * time_scale();
	struct timespec pause = { .tv_nsec = 500000 };

	for (;;) {
		count_slabs(after);
		if (after->total - before->total < SLAB_NOISE || now_ms() > until ||
		    !wait_a_moment())
			return after->total - before->total;
		/* To count keeps the machine busy: done less and less often. */
		nanosleep(&pause, NULL);
		pause.tv_nsec *= pause.tv_nsec < 50000000 ? 2 : 1;
	}
}

long slab_growth(void (*work)(int round), int warm_up, int many)
{
	static struct slabs before, after;
	int round = 0;
	long growth;

	/* kmemleak sees each object that is lost and names its line: counting finds no more. */
	if (leaks_are_watched()) {
		while (round < many)
			work(round++);
		return 0;
	}
	while (round < warm_up)
		work(round++);
	for (int attempt = 0; attempt < 2; attempt++) {
		count_slabs(&before);
		for (int i = 0; i < many; i++)
			work(round++);
		growth = settled_growth(&before, &after);
		if (growth < SLAB_NOISE)
			return growth;
	}
	tell_growth(&before, &after);
	return growth;
}

int device_numbers(void)
{
	FILE *devices = fopen("/proc/devices", "r");
	char line[128];
	int count = 0;

	expect(devices, "open(\"/proc/devices\")", "a file", "%s", result(-1));
	while (fgets(line, sizeof(line), devices))
		count++;
	fclose(devices);
	return count;
}

int module_references(void)
{
	char path[128];
	FILE *file;
	int count = -1;

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", module_name);
	file = fopen(path, "r");
	if (file && fscanf(file, "%d", &count) != 1)
		count = -1;
	if (file)
		fclose(file);
	return count;
}
