/* SPDX-License-Identifier: GPL-2.0 */
/* Loading and unloading the module under test; root only. */
#ifndef MODULE_H
#define MODULE_H

#include <stdbool.h>

/*
 * Each module_load() tells the host where the module is, unless it was told so before. To be
 * called once, by the runner: what one of its processes has told, the others need not repeat.
 */
void share_what_is_told(void);

/* Like insmod: 0, or -1 with errno. @params may be NULL. */
int module_load(const char *params);

/* Like rmmod: never waits for the module to become free; 0, or -1 with errno. */
int module_unload(void);

bool module_is_loaded(void);

/* Where a test begins: what the kernel log has so far is no part of it. Root only. */
void forget_log(void);

/* How many times @text stands in the kernel log since the current test began. */
int log_lines_with(const char *text);

/* Prints the last lines of the kernel log since the current test began, each as "# log: ...". */
void show_log(void);

/*
 * A grace period of RCU, after which the kernel frees much that was on its way: each file
 * that was closed, say. Who opens and closes without end waits for one now and then, or has
 * the memory of a busy machine full.
 */
void wait_grace_period(void);

/* Objects in use in the kernel's kmalloc caches right now, from /proc/slabinfo. */
long slab_objects(void);

/*
 * How many more there are after @many times work(), following @warm_up times that fill the
 * kernel's own caches; the rounds are counted through. Looks for a second or two until it is
 * less than SLAB_NOISE, and tries once more if it is not: the kernel's own needs come and go
 * by a hundred or so, and now and then by a thousand; who leaks does so each time. A leak
 * test leaks a thousand. What has grown most goes into a test_note(). Where kmemleak tells of
 * each lost object, see leaks.h, work() is done @many times and nothing is counted: 0.
 */
long slab_growth(void (*work)(int round), int warm_up, int many);

#define SLAB_NOISE 300

/* How many character devices have a number now, by whatever name: lines of /proc/devices. */
int device_numbers(void);

/* The module's reference count, or -1 if it is not loaded. */
int module_references(void);

#endif
