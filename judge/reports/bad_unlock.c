// SPDX-License-Identifier: GPL-2.0
/*
 * Unlocks a mutex that it does not hold.
 *
 * Kind: bad-unlock
 * Needs: CONFIG_PROVE_LOCKING
 */
#include <linux/mutex.h>

#include "reports.h"

static DEFINE_MUTEX(lock);

static noinline void bad_unlock(void)
{
	mutex_unlock(&lock); /* guilty: at */
}

report_module(bad_unlock);
