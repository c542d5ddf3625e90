// SPDX-License-Identifier: GPL-2.0
/*
 * Registers a name in sysfs twice.
 *
 * Kind: duplicate
 */
#include <linux/kobject.h>

#include "reports.h"

static noinline void duplicate(void)
{
	struct kobject *first = kobject_create_and_add("report", kernel_kobj);
	struct kobject *second = kobject_create_and_add("report", kernel_kobj); /* guilty: at */

	kobject_put(second);
	kobject_put(first);
}

report_module(duplicate);
