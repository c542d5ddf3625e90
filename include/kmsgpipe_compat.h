/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kmsgpipe: the one place where kernels before 6.6 need help.
 *
 * It asks the kernel's own headers which form they have. It never compares
 * version numbers: distributions backport, and a number then lies.
 */
#ifndef _KMSGPIPE_COMPAT_H
#define _KMSGPIPE_COMPAT_H

#include <linux/device/class.h>

/**
 * KMSGPIPE_DEVNODE() - make a devnode callback fit struct class
 * @fn: callback written as 6.6 wants it: char *fn(const struct device *, umode_t *)
 *
 * Since Linux 6.2 the device that class->devnode() gets is const. On 6.1 the
 * same function is cast to the older type: the two differ in that const only,
 * so the call itself is the same. The cast also means that the compiler does not
 * compare @fn with what is wanted: copy its first line from here.
 *
 * This can go, and @fn be named directly, once no kernel before 6.2 matters.
 */
#define KMSGPIPE_DEVNODE(fn)	((typeof_member(struct class, devnode))(fn))

#endif /* _KMSGPIPE_COMPAT_H */
