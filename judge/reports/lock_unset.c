// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a spinlock that nobody has set up.
 *
 * Kind: lock-unset
 * Needs: CONFIG_PROVE_LOCKING
 */
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "reports.h"

static noinline void lock_unset(void)
{
	spinlock_t *lock = kzalloc(sizeof(*lock), GFP_KERNEL);

	if (!lock)
		return;
	spin_lock(lock); /* guilty: at */
	spin_unlock(lock);
	kfree(lock);
}

report_module(lock_unset);
