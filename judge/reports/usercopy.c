// SPDX-License-Identifier: GPL-2.0
/*
 * Copies more to user space than the object has.
 *
 * Kind: usercopy
 * Needs: CONFIG_HARDENED_USERCOPY
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "reports.h"

static noinline void usercopy(void)
{
	char *object = kzalloc(64, GFP_KERNEL);
	unsigned int len = 128;

	OPTIMIZER_HIDE_VAR(len);
	if (copy_to_user((void __user *)0x12345678, object, len)) /* guilty: at */
		pr_info("refused\n");
	kfree(object);
}

report_module(usercopy);
