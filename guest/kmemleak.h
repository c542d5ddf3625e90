/* SPDX-License-Identifier: GPL-2.0 */
/* How old lost memory must be before the kernel tells of it (kmemleak). */
#ifndef KMEMLEAK_H
#define KMEMLEAK_H

/* The environment variable that tells programs what shorten_leak_age() has set, in ms. */
#define LEAK_AGE "KMEMLEAK_AGE_MS"

/* Lets kmemleak tell earlier than after five seconds, where that can be done. For root. */
void shorten_leak_age(void);

#endif
