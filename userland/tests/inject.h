/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Calls in which an allocation or a user copy fails: once the first of them, once the second,
 * and so on, until there are no more. The kernel does that on demand to one process and one
 * system call ("Systematic faults using fail-nth" in
 * Documentation/fault-injection/fault-injection.rst); tests with it have
 * .needs = FAULT_INJECTION and are root's.
 */
#ifndef INJECT_H
#define INJECT_H

#include <stdbool.h>

/**
 * struct outcome - what became of a call of which one allocation or copy was to fail
 * @did: the call and what failed in it, for reports
 * @ret: what the call returned
 * @failed: it returned -1: then nothing may have changed
 * @last: nothing failed in it: it had no more allocations, or copies
 *
 * A call may get by without the memory, as the kernel does here and there. Then it has to
 * have its full effect.
 */
struct outcome {
	char did[120];
	long ret;
	bool failed;
	bool last;
};

/**
 * fail_each() - make the allocations and user copies of a call fail, one after the other
 * @doing: the call in words
 * @call: makes it; returns -1 with errno, or something else on success
 * @check: looks at what it left behind, and makes everything as before for the next time
 *
 * Fails the test if the call returns any error but ENOMEM and EFAULT, or none of that and
 * still an error.
 *
 * Return: how many allocations and copies there were.
 */
int fail_each(const char *doing, long (*call)(void), void (*check)(const struct outcome *outcome));

/*
 * From now on only what code of the module calls counts: for calls in which the kernel itself
 * allocates a lot. The module has to be loaded at this moment.
 */
void fail_in_module_only(void);

#endif
