// SPDX-License-Identifier: GPL-2.0
/* The lab plan's own shell lines, by an ordinary user as the plan has no sudo there. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "harness.h"

/* Runs a line in bash, its output goes to @out; returns its exit status. */
static int shell(const char *line, char *out, size_t size)
{
	int ends[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	expect_value(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		close(ends[0]);
		close(ends[1]);
		execl("/bin/bash", "bash", "-c", line, NULL);
		_exit(127);
	}
	close(ends[1]);
	while (len < size - 1 && (n = read(ends[0], out + len, size - 1 - len)) > 0)
		len += n;
	out[len] = '\0';
	close(ends[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void expect_output(const char *line, const char *wanted)
{
	char out[512];
	int status = shell(line, out, sizeof(out));

	expect(!status, line, "exit status 0", "exit status %d: \"%s\"", status, out);
	expect(!strcmp(out, wanted), line, *wanted ? wanted : "no output", "\"%s\"", out);
}

static void expect_shell(const char *line)
{
	expect_output(line, "");
}

SOLO(plan_lab1_echo_and_cat,
     .says = "echo \"test123\" > /dev/kmsgpipe0; cat /dev/kmsgpipe0", .page = "lab1.md#reading",
     .stages = STAGE(1))
{
	expect_shell("echo \"test123\" > /dev/kmsgpipe0");
	expect_output("cat /dev/kmsgpipe0", "test123\n");
}

SOLO(plan_lab2_echo_echo_cat,
     .says = "echo \"msg1\", echo \"msg2\", then cat shows both", .page = "lab2.md#fifo",
     .stages = STAGE(2))
{
	expect_shell("echo \"msg1\" > /dev/kmsgpipe0");
	expect_shell("echo \"msg2\" > /dev/kmsgpipe0");
	expect_output("cat /dev/kmsgpipe0", "msg1\nmsg2\n");
}

static int out_end;

static long call_cat(struct caller *self)
{
	(void)self;
	dup2(out_end, 1);
	execl("/bin/busybox", "cat", KMSGPIPE_NODE, NULL);
	return -1;
}

SOLO(plan_lab2_lines_then_cat_waits,
     .says = "echo \"msg1\", echo \"msg2\"; cat shows both, waits, ends on Ctrl-C",
     .page = "lab3.md#sleeping-readers", .stages = FROM_STAGE(3))
{
	struct caller *cat;
	char out[64] = "";
	int ends[2], status;
	ssize_t n;

	expect_shell("echo \"msg1\" > /dev/kmsgpipe0");
	expect_shell("echo \"msg2\" > /dev/kmsgpipe0");
	expect_value(pipe(ends), 0);
	out_end = ends[1];
	cat = start_caller(-1, "cat /dev/kmsgpipe0", call_cat);
	close(ends[1]);
	for (size_t got = 0; got < 10; got += n) {
		n = read(ends[0], out + got, sizeof(out) - 1 - got);
		expect(n > 0, "cat /dev/kmsgpipe0", "msg1, msg2", "\"%s\", then its end", out);
	}
	expect(!strcmp(out, "msg1\nmsg2\n"), "cat /dev/kmsgpipe0", "msg1, msg2", "\"%s\"", out);
	wait_asleep(cat);
	kill(cat->pid, SIGINT);
	expect(waitpid(cat->pid, &status, 0) == cat->pid && WIFSIGNALED(status), "Ctrl-C to cat",
	       "it ends", "it does not");
}
