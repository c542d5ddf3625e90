// SPDX-License-Identifier: GPL-2.0
/*
 * Takes two mutexes in one order, and then in the other one.
 *
 * Kind: circular-locking
 * Needs: CONFIG_PROVE_LOCKING
 */
#include <linux/mutex.h>

#include "reports.h"

static DEFINE_MUTEX(read_lock);
static DEFINE_MUTEX(lock);

static noinline void in_order(void)
{
	mutex_lock(&read_lock);
	mutex_lock(&lock); /* guilty: earlier */
	mutex_unlock(&lock);
	mutex_unlock(&read_lock);
}

static noinline void circular_locking(void)
{
	in_order();
	mutex_lock(&lock); /* guilty: locked */
	mutex_lock(&read_lock); /* guilty: at */
	mutex_unlock(&read_lock);
	mutex_unlock(&lock);
}

report_module(circular_locking);
