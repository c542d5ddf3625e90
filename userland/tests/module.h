/* SPDX-License-Identifier: GPL-2.0 */
/* Loading and unloading the module under test; root only. */
#ifndef MODULE_H
#define MODULE_H

#include <stdbool.h>

/* Like insmod: 0, or -1 with errno. @params may be NULL. */
int module_load(const char *params);

/* Like rmmod: never waits for the module to become free; 0, or -1 with errno. */
int module_unload(void);

bool module_is_loaded(void);

/* How many times @text stands in the kernel log since the current test began. */
int log_lines_with(const char *text);

/* Prints the last lines of the kernel log since the current test began, each as "# log: ...". */
void show_log(void);

/*
 * Objects allocated from the kernel's kmalloc caches right now, from /proc/slabinfo.
 * It is exact for what is long freed only, so a leak test leaks a thousand times and
 * takes less than SLAB_NOISE for nothing.
 */
long slab_objects(void);

#define SLAB_NOISE 600

#endif
