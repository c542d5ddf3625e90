/* SPDX-License-Identifier: GPL-2.0 */
/* Who asks: root without the capability, an ordinary user with it, and the like. */
#ifndef PRIVILEGE_H
#define PRIVILEGE_H

/**
 * enum who - as whom a call is made
 * @WHO_USER: an ordinary user
 * @WHO_WEAK_ROOT: uid 0 without CAP_SYS_ADMIN
 * @WHO_NAMESPACE_ROOT: an ordinary user who is root with all capabilities, but only
 *	inside of a user namespace that anybody can make
 * @WHO_ADMIN_USER: an ordinary user's uid with CAP_SYS_ADMIN and nothing else
 * @WHO_ROOT: root
 */
enum who { WHO_USER, WHO_WEAK_ROOT, WHO_NAMESPACE_ROOT, WHO_ADMIN_USER, WHO_ROOT };

/* In words, for reports. */
const char *who_says(enum who who);

/* Makes this process be @who or fails the test. It has to be root, and stays what it became. */
void become(enum who who);

#endif
