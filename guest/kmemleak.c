// SPDX-License-Identifier: GPL-2.0
/*
 * Lost memory that shows itself sooner.
 *
 * kmemleak tells of no object that is younger than five seconds (MSECS_MIN_AGE in mm/kmemleak.c):
 * on a machine at work the only pointer to a new object is often in a register. Our tests ask
 * when nothing of theirs is at work any more, and each of them would wait for five seconds then.
 *
 * The kernel has no knob for this age. But it is a variable, jiffies_min_age, and the debug
 * kernel lets root write to its memory (/dev/mem). Nothing is written unless what is there is
 * five seconds, in the ticks of one of the clocks that a kernel can have.
 */
#include "kmemleak.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGE_MS		100
#define KERNELS_AGE_MS	5000

struct symbol {
	const char *name;
	unsigned long address;
};

/* One walk along /proc/kallsyms: it has tens of thousands of lines. */
static void find_symbols(struct symbol *symbols, size_t count)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	char line[256], name[128];
	unsigned long address;
	size_t found = 0;

	while (file && found < count && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx %*c %127s", &address, name) != 2)
			continue;
		for (size_t i = 0; i < count; i++) {
			if (symbols[i].address || strcmp(name, symbols[i].name))
				continue;
			symbols[i].address = address;
			found++;
		}
	}
	if (file)
		fclose(file);
}

/* Where in the machine's memory the kernel's data begin, by /proc/iomem; 0 if it does not say. */
static unsigned long kernel_data(void)
{
	FILE *file = fopen("/proc/iomem", "r");
	unsigned long start = 0;
	char line[256];

	while (file && !start && fgets(line, sizeof(line), file))
		if (strstr(line, ": Kernel data\n"))
			start = strtoul(line, NULL, 16);
	if (file)
		fclose(file);
	return start;
}

static bool is_kernels_age(unsigned long age)
{
	/* The values of CONFIG_HZ. */
	static const unsigned long clocks[] = { 100, 250, 300, 1000 };

	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++)
		if (age == clocks[i] * (KERNELS_AGE_MS / 1000))
			return true;
	return false;
}

enum { SDATA, AGE, AT_ONCE, SYMBOLS };

/* The place of jiffies_min_age in /dev/mem; 0 if the kernel does not say. */
static off_t place_of_age(const struct symbol *symbols)
{
	unsigned long data = kernel_data();

	if (!data || !symbols[SDATA].address || !symbols[AGE].address)
		return 0;
	return data + (symbols[AGE].address - symbols[SDATA].address);
}

void shorten_leak_age(void)
{
	struct symbol symbols[SYMBOLS] = {
		[SDATA] = { .name = "_sdata" },
		[AGE] = { .name = "jiffies_min_age" },
		[AT_ONCE] = { .name = "kmemleak_reports_at_once" },
	};
	unsigned long age = 0;
	char text[16];
	off_t place;
	int fd;

	if (access("/sys/kernel/debug/kmemleak", W_OK))
		return;
	fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	find_symbols(symbols, SYMBOLS);
	if (symbols[AT_ONCE].address)
		setenv(LEAK_SCANS, "1", 1);
	place = place_of_age(symbols);
	if (place && pread(fd, &age, sizeof(age), place) == sizeof(age) && is_kernels_age(age)) {
		age = age * AGE_MS / KERNELS_AGE_MS;
		snprintf(text, sizeof(text), "%d", AGE_MS);
		if (pwrite(fd, &age, sizeof(age), place) == sizeof(age))
			setenv(LEAK_AGE, text, 1);
	}
	close(fd);
}
