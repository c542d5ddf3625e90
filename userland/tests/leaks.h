/* SPDX-License-Identifier: GPL-2.0 */
/* Asks the kernel, if it keeps account (kmemleak), for memory that the tests have lost. */
#ifndef LEAKS_H
#define LEAKS_H

#include <stdbool.h>

/* For root. */
bool leaks_are_watched(void);

/* A test begins: what is allocated from now on belongs to it. @name has to stay. */
void leaks_begin(const char *name);

/* Prints what the tests have lost. Takes seconds; a kernel without kmemleak is silent. */
void leaks_report(double scale);

#endif
