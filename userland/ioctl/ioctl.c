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
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
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
#define STRING(x)	#x
#define VALUE_OF(x)	STRING(x)

struct command;

/**
 * struct request - what the user asked for
 * @device: path of the device
 * @fd: the same, open
 * @command: the command
 * @given: which of the command's arguments were given
 * @value: their values
 * @json: print for programs
 * @hint: what a command has to add to the error with which it failed
 */
struct request {
	const char *device;
	int fd;
	const struct command *command;
	bool given[MOST_ARGS];
	uint32_t value[MOST_ARGS];
	bool json;
	char hint[128];
};

/* An argument of a command; @says which values make sense, but the driver decides. */
struct argument {
	const char *name;
	const char *says;
};

/**
 * struct command - one of kmsgpipe's commands
 * @name: without KMSGPIPE_
 * @says: what it does
 * @args: its arguments
 * @run: sends it and prints the answer; returns -1 with errno if that fails
 * @access: how it needs the device to be open
 */
struct command {
	const char *name;
	const char *says;
	struct argument args[MOST_ARGS];
	int (*run)(struct request *request);
	int access;
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

/* The exit status once all is printed: an answer that did not get through is no answer. */
static int finish(void)
{
	bool failed = ferror(stdout);

	if (fclose(stdout) || failed) {
		fprintf(stderr, "ioctl: standard output: %s\n", strerror(errno));
		return EXIT_REFUSED;
	}
	return 0;
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
			printf("%s\"%s\": %llu", i ? ", " : "{", fields[i].name,
			       (unsigned long long)fields[i].value);
		else
			printf("%-12s %llu%s%s\n", fields[i].name,
			       (unsigned long long)fields[i].value,
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
		else if (text[i] == '\n' && !json)
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

	if (ioctl(request->fd, KMSGPIPE_GET_STATS, &stats) < 0)
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

/* Is there an argument whose present value has to be asked for? */
static bool incomplete(const struct request *request)
{
	return !request->given[0] || !request->given[1];
}

static int set_limits(struct request *request)
{
	struct kmsgpipe_limits limits = { .max_msgs = request->value[0],
					  .msg_size = request->value[1] };
	struct kmsgpipe_stats stats;

	if (incomplete(request) && ioctl(request->fd, KMSGPIPE_GET_STATS, &stats) < 0)
		return -1;
	if (!request->given[0])
		limits.max_msgs = stats.max_msgs;
	if (!request->given[1])
		limits.msg_size = stats.msg_size;
	if (ioctl(request->fd, KMSGPIPE_SET_LIMITS, &limits) < 0)
		return -1;
	PRINT_FIELDS(request, { "max_msgs", limits.max_msgs, NULL },
		     { "msg_size", limits.msg_size, "bytes" });
	return 0;
}

static void print_message(struct request *request, const unsigned char *text, size_t len)
{
	uint32_t index = request->value[0];

	if (request->json)
		printf("{\"index\": %u, \"size\": %zu, \"message\": ", index, len);
	else
		printf("%-12s %u\n%-12s %zu bytes\n%-12s ", "index", index, "size", len,
		       "message");
	print_text(request->json, text, len);
	puts(request->json ? "}" : "");
}

static int peek(struct request *request)
{
	uint32_t room = request->given[1] ? request->value[1] : KMSGPIPE_MSG_SIZE_MAX;
	unsigned char *text = calloc(room ? room : 1, 1);
	struct kmsgpipe_peek peek = { .index = request->value[0], .size = room,
				      .buf = (uintptr_t)text };
	int ret = -1;

	if (!text)
		return -1;
	if (ioctl(request->fd, KMSGPIPE_PEEK, &peek) < 0) {
		if (errno == EMSGSIZE)
			snprintf(request->hint, sizeof(request->hint),
				 "it has %u bytes, try size=%u", peek.size,
				 peek.size);
		else if (errno == ENOENT)
			strcpy(request->hint, "no message has that number; the first one has 0");
	} else if (peek.size > room) {
		/* A driver under work may say anything; printing it all would leave @text. */
		errno = EPROTO;
		snprintf(request->hint, sizeof(request->hint),
			 "the driver says %u bytes, there was room for %u",
			 peek.size, room);
	} else {
		print_message(request, text, peek.size);
		ret = 0;
	}
	free(text);
	return ret;
}

static int print_cleanup(struct request *request, const struct kmsgpipe_cleanup *cleanup)
{
	PRINT_FIELDS(request, { "interval_ms", cleanup->interval_ms, "ms" },
		     { "ttl_ms", cleanup->ttl_ms, "ms" });
	return 0;
}

static int get_cleanup(struct request *request)
{
	struct kmsgpipe_cleanup cleanup;

	if (ioctl(request->fd, KMSGPIPE_GET_CLEANUP, &cleanup) < 0)
		return -1;
	return print_cleanup(request, &cleanup);
}

static int set_cleanup(struct request *request)
{
	struct kmsgpipe_cleanup cleanup = { .interval_ms = request->value[0],
					    .ttl_ms = request->value[1] };
	struct kmsgpipe_cleanup present;

	if (incomplete(request) && ioctl(request->fd, KMSGPIPE_GET_CLEANUP, &present) < 0)
		return -1;
	if (!request->given[0])
		cleanup.interval_ms = present.interval_ms;
	if (!request->given[1])
		cleanup.ttl_ms = present.ttl_ms;
	if (ioctl(request->fd, KMSGPIPE_SET_CLEANUP, &cleanup) < 0)
		return -1;
	return print_cleanup(request, &cleanup);
}

static struct kmsgpipe_batch batch_of(const struct kmsgpipe_entry *entries, uint32_t count)
{
	return (struct kmsgpipe_batch) {
		.size = sizeof(struct kmsgpipe_batch), .count = count,
		.entries = (uintptr_t)entries,
	};
}

/* Reads lines into @text, one behind the other; returns how many messages they make. */
static uint32_t read_lines(char *text, struct kmsgpipe_entry *entries, uint32_t most)
{
	uint32_t count = 0;

	/* One byte more than a message may have: then the driver refuses it, not we. */
	while (count < most && fgets(text, KMSGPIPE_MSG_SIZE_MAX + 2, stdin)) {
		entries[count].buf = (uintptr_t)text;
		entries[count++].size = strlen(text);
		text += KMSGPIPE_MSG_SIZE_MAX + 2;
	}
	return count;
}

/* Each line of standard input is a message, with its newline, as echo writes it. */
static int send_batch(struct request *request)
{
	char *text = calloc(KMSGPIPE_BATCH_MAX, KMSGPIPE_MSG_SIZE_MAX + 2);
	static struct kmsgpipe_entry entries[KMSGPIPE_BATCH_MAX];
	struct kmsgpipe_batch batch;
	int sent;

	if (!text)
		return -1;
	batch = batch_of(entries, read_lines(text, entries, KMSGPIPE_BATCH_MAX));
	sent = ioctl(request->fd, KMSGPIPE_SEND_BATCH, &batch);
	free(text);
	if (sent < 0) {
		if (!batch.count)
			strcpy(request->hint, "standard input has no line to send");
		return -1;
	}
	PRINT_FIELDS(request, { "given", batch.count, NULL }, { "sent", sent, NULL });
	return 0;
}

static void print_batch(struct request *request, const unsigned char *text,
			const struct kmsgpipe_entry *entries, int count)
{
	if (request->json)
		printf("{\"received\": %d, \"messages\": [", count);
	else
		printf("%-12s %d\n", "received", count);
	for (int i = 0; i < count; i++, text += KMSGPIPE_MSG_SIZE_MAX) {
		if (request->json)
			fputs(i ? ", " : "", stdout);
		else
			printf("%-12s ", "message");
		print_text(request->json, text, entries[i].size);
		if (!request->json)
			putchar('\n');
	}
	fputs(request->json ? "]}\n" : "", stdout);
}

static int receive_batch(struct request *request)
{
	uint32_t count = request->given[0] ? request->value[0] : 32;
	static struct kmsgpipe_entry entries[KMSGPIPE_BATCH_MAX];
	struct kmsgpipe_batch batch = batch_of(entries, count);
	unsigned char *text = calloc(KMSGPIPE_BATCH_MAX, KMSGPIPE_MSG_SIZE_MAX);
	int received;

	if (!text)
		return -1;
	for (uint32_t i = 0; i < KMSGPIPE_BATCH_MAX; i++) {
		entries[i].buf = (uintptr_t)(text + i * KMSGPIPE_MSG_SIZE_MAX);
		entries[i].size = KMSGPIPE_MSG_SIZE_MAX;
	}
	received = ioctl(request->fd, KMSGPIPE_RECV_BATCH, &batch);
	for (int i = 0; i < received; i++) {
		/* As with PEEK: a driver under work may say anything. */
		if (i == KMSGPIPE_BATCH_MAX || entries[i].size > KMSGPIPE_MSG_SIZE_MAX) {
			errno = EPROTO;
			received = -1;
		}
	}
	if (received >= 0)
		print_batch(request, text, entries, received);
	free(text);
	return received < 0 ? -1 : 0;
}

static const struct command commands[] = {
	{ "GET_STATS", "counters and limits", {}, get_stats, O_RDONLY },
	{ "CLEAR_QUEUE", "drop all messages; needs CAP_SYS_ADMIN", {}, clear_queue, O_RDONLY },
	{ "SET_LIMITS", "change the limits; needs CAP_SYS_ADMIN",
	  { { "max_msgs", "1 to " VALUE_OF(KMSGPIPE_MAX_MSGS_MAX) " messages" },
	    { "msg_size", "1 to " VALUE_OF(KMSGPIPE_MSG_SIZE_MAX) " bytes" } }, set_limits,
	  O_RDONLY },
	{ "PEEK", "show a message and leave it in the queue",
	  { { "index", "how many come before it; else 0" },
	    { "size", "bytes there is room for; else " VALUE_OF(KMSGPIPE_MSG_SIZE_MAX) } }, peek,
	  O_RDONLY },
	{ "GET_CLEANUP", "how long messages may wait", {}, get_cleanup, O_RDONLY },
	{ "SET_CLEANUP", "change that; needs CAP_SYS_ADMIN",
	  { { "interval_ms", "0 (off) to " VALUE_OF(KMSGPIPE_CLEANUP_MS_MAX) },
	    { "ttl_ms", "0 (off) to " VALUE_OF(KMSGPIPE_CLEANUP_MS_MAX) } }, set_cleanup,
	  O_RDONLY },
	{ "SEND_BATCH", "send each line of standard input as a message", {}, send_batch,
	  O_WRONLY },
	{ "RECV_BATCH", "take messages, oldest first",
	  { { "count", "1 to " VALUE_OF(KMSGPIPE_BATCH_MAX) " messages; else 32" } },
	  receive_batch, O_RDONLY },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* Any other number, as it stands, without an argument: to see what a driver says to it. */
static uint32_t raw_number;
static const char *raw_name;

static int send_raw(struct request *request)
{
	int ret = ioctl(request->fd, raw_number, NULL);

	if (ret < 0)
		return -1;
	PRINT_FIELDS(request, { "returned", ret, NULL });
	return 0;
}

static const struct command raw = { "a bare number", "", {}, send_raw, O_RDONLY };

/* -- reading the command line ------------------------------------------------------- */

/* Its next argument, beginning with number @i; NULL behind the last one. */
static const struct argument *argument(const struct command *command, size_t i)
{
	return i < MOST_ARGS && command->args[i].name ? &command->args[i] : NULL;
}

static void usage(FILE *to)
{
	const struct argument *arg;

	fputs("usage: ioctl [--json] DEVICE COMMAND [NAME=VALUE...]\n"
	      "\n"
	      "Sends a command to a kmsgpipe device:\n"
	      "  ioctl " KMSGPIPE_NODE " KMSGPIPE_GET_STATS\n"
	      "\n", to);
	for (size_t i = 0; i < COMMANDS; i++) {
		fprintf(to, "  " PREFIX "%-12s %s\n", commands[i].name, commands[i].says);
		for (size_t k = 0; (arg = argument(&commands[i], k)); k++)
			fprintf(to, "%26s%s=NUMBER%*s %s\n", "", arg->name,
				(int)(12 - strlen(arg->name)), "", arg->says);
	}
	fputs("\n"
	      "A command's name may be in lower case and without KMSGPIPE_.\n"
	      "A NUMBER is decimal or 0x... What a SET command is not given keeps its present\n"
	      "value, which is asked for first. COMMAND may also be a bare number, such as\n"
	      "0xe963: it is sent as it is, to see what the driver says.\n"
	      "\n"
	      "  --json  print the answer as one JSON object\n"
	      "  --help  print this\n"
	      "\n"
	      "Exit status: 0 done, 1 refused by the device or the system, 2 called wrongly.\n",
	      to);
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
			size_t best = above_left + (toupper((unsigned char)a[i - 1]) != b[k - 1]);

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

/* How unlike command @name is; what was only cut short is much alike. */
static size_t unlike(const char *word, const char *name)
{
	return *word && strcasestr(name, word) ? 1 : distance(word, name);
}

/* A number without sign or anything behind it, decimal or 0x...; false if it is none. */
static bool parse_number(const char *text, uint32_t *value)
{
	bool hex = !strncasecmp(text, "0x", 2);
	const char *digits = hex ? text + 2 : text;
	unsigned long long number;

	/* strtoull() would also take a sign, space, and a second 0x. */
	if (!*digits || digits[strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789")])
		return false;
	errno = 0;
	number = strtoull(digits, NULL, hex ? 16 : 10);
	*value = number;
	return !errno && number <= UINT32_MAX;
}

static const struct command *find_command(const char *word)
{
	const char *name = strncasecmp(word, PREFIX, strlen(PREFIX)) ? word : word + strlen(PREFIX);
	const struct command *nearest = commands;
	char list[256] = "", guess[64] = "";

	if (isdigit((unsigned char)*word)) {
		if (!parse_number(word, &raw_number))
			wrong("%s: not a number from 0 to 0xffffffff", word);
		raw_name = word;
		return &raw;
	}
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcasecmp(name, commands[i].name))
			return &commands[i];
		if (unlike(name, commands[i].name) < unlike(name, nearest->name))
			nearest = &commands[i];
		snprintf(list + strlen(list), sizeof(list) - strlen(list), " %s", commands[i].name);
	}
	/* If more than half of it is different, it is no slip of the finger. */
	if (unlike(name, nearest->name) <= strlen(nearest->name) / 2)
		snprintf(guess, sizeof(guess), "; did you mean " PREFIX "%s?", nearest->name);
	wrong("%s: no such command%s Known:%s", word, *guess ? guess : ".", list);
}

static void take_argument(struct request *request, const char *word)
{
	const struct command *command = request->command;
	const char *prefix = command == &raw ? "" : PREFIX;
	const char *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	const struct argument *arg;
	char known[96] = "";

	for (size_t i = 0; (arg = argument(command, i)); i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s=NUMBER",
			 arg->name);
	if (!*known)
		wrong("%s: %s%s takes no arguments", word, prefix, command->name);
	for (size_t i = 0; equals && (arg = argument(command, i)); i++) {
		if (strlen(arg->name) != len || strncmp(word, arg->name, len))
			continue;
		if (request->given[i])
			wrong("%s: %s is given twice; %s%s takes%s", word, arg->name, prefix,
			      command->name, known);
		if (!parse_number(equals + 1, &request->value[i]))
			wrong("%s: not a number from 0 to %u", word, UINT32_MAX);
		request->given[i] = true;
		return;
	}
	wrong("%s: %s%s takes%s", word, prefix, command->name, known);
}

static void parse(int argc, char **argv, struct request *request)
{
	int operands = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help")) {
			usage(stdout);
			exit(finish());
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

/* What helps against an error that has one usual cause; may leave it in request->hint. */
static const char *remedy(struct request *request, int error)
{
	const struct argument *arg;
	char *hint = request->hint;

	switch (error) {
	case EPERM:
		return "it needs CAP_SYS_ADMIN: try sudo";
	case ENOTTY:
		return "this device's driver does not know the command";
	case EINVAL:
		for (size_t i = 0; (arg = argument(request->command, i)); i++)
			snprintf(hint + strlen(hint), sizeof(request->hint) - strlen(hint),
				 "%s%s: %s", i ? ", " : "", arg->name, arg->says);
		break;
	}
	return hint;
}

/* Two lines, the second one only if there is a remedy: together they were wider than 80. */
static int refused(struct request *request)
{
	int error = errno;
	bool is_raw = request->command == &raw;
	const char *helps = remedy(request, error);

	fprintf(stderr, "ioctl: %s: %s%s: %s\n", request->device, is_raw ? "" : PREFIX,
		is_raw ? raw_name : request->command->name, strerror(error));
	if (*helps)
		fprintf(stderr, "  %s\n", helps);
	return EXIT_REFUSED;
}

int main(int argc, char **argv)
{
	struct request request = { 0 };

	parse(argc, argv, &request);
	/* Without O_NONBLOCK some devices wait in open(); no command here needs to. */
	request.fd = open(request.device, request.command->access | O_NONBLOCK | O_CLOEXEC);
	if (request.fd < 0) {
		fprintf(stderr, "ioctl: %s: %s\n%s", request.device, strerror(errno),
			errno == ENOENT || errno == ENXIO ? "  is the driver loaded?\n" : "");
		return EXIT_REFUSED;
	}
	if (request.command->run(&request))
		return refused(&request);
	return finish();
}
