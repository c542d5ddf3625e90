/* SPDX-License-Identifier: GPL-2.0 */
/* What the modules of judge/reports/ share: each has one bug, and shows it when it is loaded. */
#ifndef REPORTS_H
#define REPORTS_H

#include <linux/fs.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/string.h>

/* A module that calls @leave_ when it is unloaded. */
#define report_module_with_exit(provoke_, leave_)	\
	static int __init provoke_##_init(void)		\
	{						\
		provoke_();				\
		return 0;				\
	}						\
	static void __exit provoke_##_exit(void)	\
	{						\
		leave_();				\
	}						\
	module_init(provoke_##_init);			\
	module_exit(provoke_##_exit);			\
	MODULE_DESCRIPTION("provokes a kernel report");	\
	MODULE_LICENSE("GPL")

static inline void report_nothing(void)
{
}

/* A module that calls @provoke_ when it is loaded. */
#define report_module(provoke_) report_module_with_exit(provoke_, report_nothing)

/* For detectors that wait for long: sets how long. A kernel without the file goes on. */
static inline void report_set(const char *path, const char *value)
{
	struct file *file = filp_open(path, O_WRONLY, 0);
	loff_t pos = 0;

	if (IS_ERR(file))
		return;
	if (kernel_write(file, value, strlen(value), &pos) < 0)
		pr_info("%s: cannot be set\n", path);
	filp_close(file, NULL);
}

/* Longer than any detector takes that report_set() has told to hurry. */
#define REPORT_SECONDS 12

#endif
