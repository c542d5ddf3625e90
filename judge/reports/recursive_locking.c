// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a mutex that it holds. It tries only, so that it can go on.
 *
 * Kind: recursive-locking
 * Needs: CONFIG_PROVE_LOCKING
 */
#include <linux/mutex.h>

#include "reports.h"

static struct mutex locks[2];

static noinline void recursive_locking(void)
{
	/* Two of one kind, as far as lockdep knows: the second could be the first. */
	for (int i = 0; i < 2; i++)
		mutex_init(&locks[i]);
	mutex_lock(&locks[0]); /* guilty: locked */
	mutex_lock(&locks[1]); /* guilty: at */
	mutex_unlock(&locks[1]);
	mutex_unlock(&locks[0]);
}

report_module(recursive_locking);
