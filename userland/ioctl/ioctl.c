// SPDX-License-Identifier: GPL-2.0
/*
 * ioctl DEVICE COMMAND [NAME=VALUE...]: sends one of kmsgpipe's commands to a device.
 *
 * Exit status: 0 done, 1 the device or the system refused, 2 it was called wrongly.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kmsgpipe.h"

#define PREFIX		"KMSGPIPE_"
#define EXIT_REFUSED	1
#define EXIT_USAGE	2
#define MOST_ARGS	2

struct command;

/**
 * struct request - what the user asked for
 * @device: path of the device
 * @fd: the same, open
 * @command: the command
 * @given: which of the command's arguments were given
 * @value: their values
 * @json: print for programs
 */
struct request {
	const char *device;
	int fd;
	const struct command *command;
	bool given[MOST_ARGS];
	uint32_t value[MOST_ARGS];
	bool json;
};

/**
 * struct command - one of kmsgpipe's commands
 * @name: without KMSGPIPE_
 * @says: what it does
 * @args: names of its arguments
 * @run: sends it and prints the answer; returns -1 with errno if that fails
 */
struct command {
	const char *name;
	const char *says;
	const char *args[MOST_ARGS];
	int (*run)(struct request *request);
};

static void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *fmt, ...)
{
	va_list args;

	fputs("ioctl: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_USAGE);
}

/* -- printing ----------------------------------------------------------------------- */

/* One value of an answer; @unit is for people. */
struct field {
	const char *name;
	uint64_t value;
	const char *unit;
};

static void print_fields(bool json, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (json)
			printf("%s\"%s\": %" PRIu64, i ? ", " : "{", fields[i].name,
			       fields[i].value);
		else
			printf("%-12s %" PRIu64 "%s%s\n", fields[i].name, fields[i].value,
			       fields[i].unit ? " " : "", fields[i].unit ? fields[i].unit : "");
	}
	if (json)
		puts("}");
}

#define PRINT_FIELDS(request, ...)						\
	print_fields((request)->json, (const struct field[]){ __VA_ARGS__ },	\
		     sizeof((const struct field[]){ __VA_ARGS__ }) / sizeof(struct field))

/* A message may hold anything, also what a terminal would obey: only plain characters pass. */
static void print_text(bool json, const unsigned char *text, size_t len)
{
	putchar('"');
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"' || text[i] == '\\')
			printf("\\%c", text[i]);
		else if (text[i] >= ' ' && text[i] < 0x7f)
			putchar(text[i]);
		else if (text[i] == '\n')
			fputs("\\n", stdout);
		else
			printf(json ? "\\u%04x" : "\\x%02x", text[i]);
	}
	putchar('"');
}

/* -- the commands ------------------------------------------------------------------- */

static int get_stats(struct request *request)
{
	struct kmsgpipe_stats stats;

	if (ioctl(request->fd, KMSGPIPE_GET_STATS, &stats))
		return -1;
	PRINT_FIELDS(request, { "written", stats.written, NULL }, { "read", stats.read, NULL },
		     { "cleared", stats.cleared, NULL }, { "expired", stats.expired, NULL },
		     { "queued", stats.queued, NULL }, { "max_msgs", stats.max_msgs, NULL },
		     { "msg_size", stats.msg_size, "bytes" });
	return 0;
}

static int clear_queue(struct request *request)
{
	int count = ioctl(request->fd, KMSGPIPE_CLEAR_QUEUE);

	if (count < 0)
		return -1;
	PRINT_FIELDS(request, { "dropped", count, NULL });
	return 0;
}

static int set_limits(struct request *request)
{
	struct kmsgpipe_limits limits = { .max_msgs = request->value[0],
					  .msg_size = request->value[1] };
	struct kmsgpipe_stats stats;

	if (ioctl(request->fd, KMSGPIPE_GET_STATS, &stats))
		return -1;
	if (!request->given[0])
		limits.max_msgs = stats.max_msgs;
	if (!request->given[1])
		limits.msg_size = stats.msg_size;
	if (ioctl(request->fd, KMSGPIPE_SET_LIMITS, &limits))
		return -1;
	PRINT_FIELDS(request, { "max_msgs", limits.max_msgs, NULL },
		     { "msg_size", limits.msg_size, "bytes" });
	return 0;
}

static int peek(struct request *request)
{
	static unsigned char text[KMSGPIPE_MSG_SIZE_MAX];
	struct kmsgpipe_peek peek = { .index = request->value[0], .size = sizeof(text),
				      .buf = (uintptr_t)text };

	if (ioctl(request->fd, KMSGPIPE_PEEK, &peek))
		return -1;
	if (request->json)
		printf("{\"index\": %" PRIu32 ", \"size\": %" PRIu32 ", \"message\": ",
		       request->value[0], peek.size);
	else
		printf("%-12s %" PRIu32 "\n%-12s %" PRIu32 " bytes\n%-12s ", "index",
		       request->value[0], "size", peek.size, "message");
	print_text(request->json, text, peek.size);
	puts(request->json ? "}" : "");
	return 0;
}

static int print_cleanup(struct request *request, const struct kmsgpipe_cleanup *cleanup)
{
	PRINT_FIELDS(request, { "interval_ms", cleanup->interval_ms, NULL },
		     { "ttl_ms", cleanup->ttl_ms, NULL });
	return 0;
}

static int get_cleanup(struct request *request)
{
	struct kmsgpipe_cleanup cleanup;

	if (ioctl(request->fd, KMSGPIPE_GET_CLEANUP, &cleanup))
		return -1;
	return print_cleanup(request, &cleanup);
}

static int set_cleanup(struct request *request)
{
	struct kmsgpipe_cleanup cleanup;

	if (ioctl(request->fd, KMSGPIPE_GET_CLEANUP, &cleanup))
		return -1;
	if (request->given[0])
		cleanup.interval_ms = request->value[0];
	if (request->given[1])
		cleanup.ttl_ms = request->value[1];
	if (ioctl(request->fd, KMSGPIPE_SET_CLEANUP, &cleanup))
		return -1;
	return print_cleanup(request, &cleanup);
}

static const struct command commands[] = {
	{ "GET_STATS", "counters and limits", {}, get_stats },
	{ "CLEAR_QUEUE", "drop all messages; needs CAP_SYS_ADMIN", {}, clear_queue },
	{ "SET_LIMITS", "change limits; needs CAP_SYS_ADMIN", { "max_msgs", "msg_size" },
	  set_limits },
	{ "PEEK", "show message number index (0: the next one), leave it there", { "index" },
	  peek },
	{ "GET_CLEANUP", "how long messages may wait", {}, get_cleanup },
	{ "SET_CLEANUP", "change that; needs CAP_SYS_ADMIN", { "interval_ms", "ttl_ms" },
	  set_cleanup },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* Any other number, as it stands, without an argument: to see what a driver says to it. */
static unsigned long raw_number;
static const char *raw_name;

static int send_raw(struct request *request)
{
	int ret = ioctl(request->fd, raw_number, NULL);

	if (ret < 0)
		return -1;
	PRINT_FIELDS(request, { "returned", ret, NULL });
	return 0;
}

static const struct command raw = { "number", "", {}, send_raw };

/* -- reading the command line ------------------------------------------------------- */

static bool takes_arguments(const struct command *command)
{
	return command->args[0];
}

static void usage(FILE *to)
{
	fputs("usage: ioctl [--json] DEVICE COMMAND [NAME=VALUE...]\n"
	      "\n"
	      "Sends a command to a kmsgpipe device:\n"
	      "  ioctl " KMSGPIPE_NODE " KMSGPIPE_GET_STATS\n"
	      "\n", to);
	for (size_t i = 0; i < COMMANDS; i++) {
		fprintf(to, "  " PREFIX "%-12s %s\n", commands[i].name, commands[i].says);
		for (size_t k = 0; k < MOST_ARGS && commands[i].args[k]; k++)
			fprintf(to, "%26s%s=NUMBER\n", "", commands[i].args[k]);
	}
	fputs("\n"
	      "An argument that is not given keeps its present value; index is then 0.\n"
	      "COMMAND may also be a bare number such as 0xe901: it is sent as it is.\n"
	      "--json prints the answer for programs, --help this text.\n"
	      "Exit status: 0 done, 1 refused by the device, 2 called wrongly.\n", to);
}

/* How many letters have to be changed, added or removed to make @b of @a; @b is short. */
static size_t distance(const char *a, const char *b)
{
	size_t row[32], len = strlen(b);

	for (size_t k = 0; k <= len; k++)
		row[k] = k;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t above_left = row[0];

		row[0] = i;
		for (size_t k = 1; k <= len; k++) {
			size_t best = above_left + (toupper(a[i - 1]) != b[k - 1]);

			if (row[k] + 1 < best)
				best = row[k] + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			above_left = row[k];
			row[k] = best;
		}
	}
	return row[len];
}

/* A number without sign or anything behind it, decimal or 0x...; false if it is none. */
static bool parse_number(const char *text, unsigned long long most, unsigned long long *value)
{
	char *end;
	bool hex = !strncasecmp(text, "0x", 2);
	const char *digits = hex ? text + 2 : text;

	if (!isxdigit((unsigned char)*digits))
		return false;
	errno = 0;
	*value = strtoull(digits, &end, hex ? 16 : 10);
	return !*end && !errno && *value <= most;
}

static const struct command *find_command(const char *word)
{
	const char *name = strncasecmp(word, PREFIX, strlen(PREFIX)) ? word : word + strlen(PREFIX);
	const struct command *nearest = commands;
	unsigned long long number;
	char list[256] = "";

	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcasecmp(name, commands[i].name))
			return &commands[i];
		if (distance(name, commands[i].name) < distance(name, nearest->name))
			nearest = &commands[i];
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 i ? " " : "", commands[i].name);
	}
	if (parse_number(word, 0xffffffff, &number)) {
		raw_number = number;
		raw_name = word;
		return &raw;
	}
	wrong("%s: no such command; did you mean " PREFIX "%s? Known: %s", word, nearest->name,
	      list);
}

static void take_argument(struct request *request, const char *word)
{
	const struct command *command = request->command;
	const char *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	unsigned long long value;
	char known[64] = "";

	if (!takes_arguments(command))
		wrong("%s: %s takes no arguments", word, command->name);
	for (size_t i = 0; i < MOST_ARGS && command->args[i]; i++) {
		snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s=NUMBER",
			 command->args[i]);
		if (!equals || strlen(command->args[i]) != len ||
		    strncmp(word, command->args[i], len))
			continue;
		if (request->given[i])
			wrong("%s: given twice", command->args[i]);
		if (!parse_number(equals + 1, UINT32_MAX, &value))
			wrong("%s: not a number from 0 to %" PRIu32, word, UINT32_MAX);
		request->given[i] = true;
		request->value[i] = value;
		return;
	}
	wrong("%s: " PREFIX "%s takes%s", word, command->name, known);
}

static void parse(int argc, char **argv, struct request *request)
{
	int operands = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help")) {
			usage(stdout);
			exit(fflush(stdout) ? EXIT_REFUSED : 0);
		}
	}
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];

		if (!strcmp(word, "--json"))
			request->json = true;
		else if (word[0] == '-')
			wrong("%s: no such option; there are --json and --help", word);
		else if (++operands == 1)
			request->device = word;
		else if (operands == 2)
			request->command = find_command(word);
		else
			take_argument(request, word);
	}
	if (operands < 2) {
		usage(stderr);
		exit(EXIT_USAGE);
	}
}

/* What helps against an error that has one usual cause. */
static const char *remedy(const struct request *request, int error)
{
	static const struct {
		int error;
		const char *text;
	} table[] = {
		{ EPERM, "; it needs CAP_SYS_ADMIN: try sudo" },
		{ ENOTTY, "; the driver of this stage does not know it" },
	};

	if (error == ENOENT && request->command->run == peek)
		return "; there are fewer messages";
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].error == error)
			return table[i].text;
	return "";
}

int main(int argc, char **argv)
{
	struct request request = { 0 };
	bool is_raw;

	parse(argc, argv, &request);
	/* Without O_NONBLOCK some devices wait in open(); no command here needs to. */
	request.fd = open(request.device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (request.fd < 0) {
		fprintf(stderr, "ioctl: %s: %s\n", request.device, strerror(errno));
		return EXIT_REFUSED;
	}
	is_raw = request.command == &raw;
	if (request.command->run(&request)) {
		fprintf(stderr, "ioctl: %s: %s%s: %s%s\n", request.device, is_raw ? "" : PREFIX,
			is_raw ? raw_name : request.command->name, strerror(errno), remedy(&request, errno));
		return EXIT_REFUSED;
	}
	/* An answer that did not get through is no answer. */
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "ioctl: standard output: %s\n", strerror(errno));
		return EXIT_REFUSED;
	}
	return 0;
}
