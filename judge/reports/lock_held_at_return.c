// SPDX-License-Identifier: GPL-2.0
/*
 * Returns to user space with a mutex held.
 *
 * Kind: lock-held-at-return
 * Needs: CONFIG_PROVE_LOCKING
 */
#include <linux/mutex.h>

#include "reports.h"

static DEFINE_MUTEX(lock);

static noinline void lock_held_at_return(void)
{
	mutex_lock(&lock); /* guilty: locked */
}

report_module(lock_held_at_return);
