// SPDX-License-Identifier: GPL-2.0
/*
 * The VM's sudo: runs a command as root, without a question. It exists so that
 * the lab plan's own lines work as they are typed. Not for any other machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: sudo COMMAND [ARG...]\n");
		return 2;
	}
	if (setgroups(0, NULL) || setgid(0) || setuid(0)) {
		fprintf(stderr, "sudo: %s\n", strerror(errno));
		return 1;
	}
	execvp(argv[1], argv + 1);
	fprintf(stderr, "sudo: %s: %s\n", argv[1], strerror(errno));
	return 127;
}
