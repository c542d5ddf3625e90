// SPDX-License-Identifier: GPL-2.0
/*
 * nonblock COMMAND [ARG...]: runs a command whose standard input and output have
 * O_NONBLOCK set, as fcntl(2) does it. No common shell tool opens a file that
 * way, and lab 3 is about the difference:
 *
 *	nonblock cat < /dev/kmsgpipe0
 *	nonblock echo full > /dev/kmsgpipe0
 *
 * A terminal stays as it is: the flag belongs to the open file, and the shell
 * goes on to use that one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: nonblock COMMAND [ARG...] [< FILE] [> FILE]\n");
		return 2;
	}
	for (int fd = 0; fd < 2; fd++) {
		int flags = fcntl(fd, F_GETFL);

		if (isatty(fd))
			continue;
		if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
			fprintf(stderr, "nonblock: descriptor %d: %s\n", fd, strerror(errno));
			return 1;
		}
	}
	execvp(argv[1], argv + 1);
	fprintf(stderr, "nonblock: %s: %s\n", argv[1], strerror(errno));
	return 127;
}
