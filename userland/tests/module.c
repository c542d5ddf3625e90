// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "module.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

int module_load(const char *params)
{
	int fd = open(module_path, O_RDONLY | O_CLOEXEC);
	int ret, error;

	if (fd < 0)
		return -1;
	ret = syscall(SYS_finit_module, fd, params ? params : "", 0);
	error = errno;
	close(fd);
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

int log_lines_with(const char *text)
{
	char record[4096];
	int count = 0;
	ssize_t n;
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -1;
	for (;;) {
		n = read(fd, record, sizeof(record) - 1);
		/* -EPIPE: records were overwritten before we read them; go on. */
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			break;
		record[n] = '\0';
		if (strstr(record, "judge: begin "))
			count = 0;
		else if (strstr(record, text))
			count++;
	}
	close(fd);
	return count;
}

long slab_objects(void)
{
	FILE *info = fopen("/proc/slabinfo", "r");
	char line[512], name[64];
	long total = 0, active;

	expect(info, "open(\"/proc/slabinfo\")", "a file", "%s", result(-1));
	while (fgets(line, sizeof(line), info))
		if (sscanf(line, "%63s %ld", name, &active) == 2 && !strncmp(name, "kmalloc-", 8))
			total += active;
	fclose(info);
	return total;
}
