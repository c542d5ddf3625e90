// SPDX-License-Identifier: GPL-2.0
/*
 * Frees an object while a mutex in it is held.
 *
 * Kind: lock-freed
 * Needs: CONFIG_DEBUG_LOCK_ALLOC
 */
#include <linux/mutex.h>
#include <linux/slab.h>

#include "reports.h"

static noinline void lock_freed(void)
{
	struct mutex *lock = kmalloc(sizeof(*lock), GFP_KERNEL);

	if (!lock)
		return;
	mutex_init(lock);
	mutex_lock(lock); /* guilty: locked */
	kfree(lock); /* guilty: at */
}

report_module(lock_freed);
