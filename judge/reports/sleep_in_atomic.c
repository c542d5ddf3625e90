// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a mutex while a spinlock is held.
 *
 * Kind: sleep-in-atomic
 * Needs: CONFIG_DEBUG_ATOMIC_SLEEP
 */
#include <linux/mutex.h>
#include <linux/spinlock.h>

#include "reports.h"

static DEFINE_SPINLOCK(lock);
static DEFINE_MUTEX(mutex);

static noinline void sleep_in_atomic(void)
{
	spin_lock(&lock); /* guilty: locked */
	mutex_lock(&mutex); /* guilty: at */
	mutex_unlock(&mutex);
	spin_unlock(&lock);
}

report_module(sleep_in_atomic);
