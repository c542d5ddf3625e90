// SPDX-License-Identifier: GPL-2.0
/*
 * The test harness: one run of each test in processes of its own.
 *
 * A student's driver may hang whoever calls it, so the runner itself never calls
 * into the module: children load it, use it and unload it, and the runner waits
 * for each with a deadline. A child that survives SIGKILL is stuck in the kernel;
 * that is a verdict of its own ("unkillable"), and after it the runner stops,
 * because nothing that such a kernel says can be trusted.
 *
 * The module's callers may be 32-bit programs. So the tests are compiled twice, and a
 * test with .both_widths has a second run, NAME_in_32_bits: its process executes the
 * 32-bit program for test->run() only. All that judges stays in the 64-bit one.
 *
 * Output is KTAP (Documentation/dev-tools/ktap.rst) with these extra lines:
 *
 *	# scale FACTOR          how much slower than the reference machine this is
 *	# begin NAME SECONDS    a test starts; it has SECONDS
 *	# unload SECONDS        it has ended; unloading the module has SECONDS
 *	# verdict: WORD         before "not ok": failed, time-out, unkillable, crashed,
 *	                        cannot-load or cannot-unload
 *	# did:/wanted:/saw:/note: TEXT
 *	# log: TEXT             what the kernel log has of the test
 *	# text .SECTION=ADDRESS... the module was loaded to there, and is until told otherwise
 *	# leaks SECONDS         all tests have ended; looking for lost memory has SECONDS
 *	# leak NAME             a test has lost memory; lines "# | TEXT" say which
 */
#define _GNU_SOURCE
#include "harness.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "leaks.h"
#include "module.h"

#define TEST_UID	1000
#define MAX_TESTS	500
#define EXIT_FAILED	1
/* 2 is a usage error. */
#define EXIT_CANNOT_LOAD 3

/* What calibrate() measures on the reference machine: emulated, 2 cores of 2020s. */
#define REFERENCE_MS	25.0
#define MOST_SCALE	15.0
#define LOOKS_SLOW	4.0

/*
 * How long a process may wait uninterruptibly before the kernel tells of it, and where:
 * shorter than a test's time-out, so that the report belongs to the test.
 */
#define HUNG_SECONDS	3

/* How long a process may take to die of SIGKILL before it counts as unkillable. */
#define KILL_MS		1000

#define PROGRAM_32	"/bin/kmsgpipe-test32"
#define SUFFIX_32	"_in_32_bits"
#define NEEDS_32	"32-bit-programs"

const char *module_name, *module_path;
int stage_number;

/* One line of --list and of the results: a test, in one width. */
struct run {
	const struct test *test;
	bool in_32_bits;
	char name[120];
};

/*
 * Shared by all processes of a test: what the first failure has to say. They may be
 * of both widths: the layout is the same.
 */
struct report {
	int failed;
	char did[256];
	char wanted[256];
	char saw[1024];
	char note[512];
};

static_assert(sizeof(struct report) == 4 + 256 + 256 + 1024 + 512, "the same in both widths");

static struct report *report;
static int report_fd;
static double scale = 1.0;
/* On a kernel that checks its own steps only each so-many-th round is made. */
static int every_nth = 1;

double time_scale(void)
{
	return scale;
}

int rounds(int many)
{
	return many / every_nth;
}

long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* When a test should give up waiting, and begin no more rounds; set in its own process. */
static long long give_up_ms, hurry_ms;

bool another_round(int round, int least, int many)
{
	return round < least || (round < many && now_ms() < hurry_ms);
}

/*
 * Or before that, when all CPUs together have had nothing to do for so long: who waits for
 * somebody that would have to run waits in vain then. Only timers are left, so that it is
 * some time. A machine that is busy, or that got no CPU of its host, has not been idle.
 */
#define IDLE_SHARE	0.25
#define IDLE_LOOK_MS	50

static double idle_until;
static long long next_look_ms;

/* How long the CPUs have been idle since boot: the sum. */
static double idle_seconds(void)
{
	FILE *file = fopen("/proc/uptime", "r");
	double idle = 0;

	if (file && fscanf(file, "%*f %lf", &idle) != 1)
		idle = 0;
	if (file)
		fclose(file);
	return idle;
}

static void begin_waiting(double seconds)
{
	double most = seconds * IDLE_SHARE;

	give_up_ms = now_ms() + (long long)(seconds * 800);
	hurry_ms = now_ms() + (long long)(seconds * 333);
	idle_until = idle_seconds() + most * sysconf(_SC_NPROCESSORS_ONLN);
	/* It cannot be true before. */
	next_look_ms = now_ms() + (long long)(most * 1000);
}

static bool waits_in_vain(void)
{
	long long now = now_ms();

	if (now > give_up_ms)
		return true;
	if (now < next_look_ms)
		return false;
	next_look_ms = now + IDLE_LOOK_MS;
	return idle_seconds() > idle_until;
}

bool wait_a_moment(void)
{
	const struct timespec moment = { .tv_nsec = 500000 };

	if (waits_in_vain())
		return false;
	nanosleep(&moment, NULL);
	return true;
}

static double seconds_for(const struct test *test)
{
	return (test->seconds ? test->seconds : DEFAULT_SECONDS) * scale;
}

static void clean_copy(char *to, size_t size, const char *from)
{
	size_t i;

	/* One report line each: a line break in it would end the line. */
	for (i = 0; from[i] && i < size - 1; i++)
		to[i] = from[i] == '\n' ? ' ' : from[i];
	to[i] = '\0';
}

void test_fail(const char *did, const char *wanted, const char *fmt, ...)
{
	char saw[sizeof(report->saw)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(saw, sizeof(saw), fmt, args);
	va_end(args);

	/* Only the first failure is told: the others mostly follow from it. */
	if (!__atomic_exchange_n(&report->failed, 1, __ATOMIC_SEQ_CST)) {
		clean_copy(report->did, sizeof(report->did), did);
		clean_copy(report->wanted, sizeof(report->wanted), wanted);
		clean_copy(report->saw, sizeof(report->saw), saw);
	}
	_exit(EXIT_FAILED);
}

void test_note(const char *fmt, ...)
{
	char note[sizeof(report->note)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(note, sizeof(note), fmt, args);
	va_end(args);
	clean_copy(report->note, sizeof(report->note), note);
}

const char *result(long ret)
{
	static char text[160];
	/* 512 and above, such as ERESTARTSYS, are the kernel's own and have no name here. */
	const char *name = strerrorname_np(errno);

	if (ret == -1)
		snprintf(text, sizeof(text), "-1 (%s: %s)", name ? name : "no errno of user space",
			 strerror(errno));
	else
		snprintf(text, sizeof(text), "%ld", ret);
	return text;
}

const char *number(long value)
{
	static char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return text;
}

static void mark_log(const char *what, const char *name)
{
	static int fd = -1;
	char line[160];
	/* A warning: the console, which the host listens to, shows nothing less. */
	int len = snprintf(line, sizeof(line), "<4>judge: %s %s\n", what, name);

	if (fd < 0)
		fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, line, len) != len)
		printf("# note: the kernel log takes no marks\n");
}

void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		printf("# note: cannot write %s\n", path);
	close(fd);
}

static void become_ordinary_user(void)
{
	if (setgroups(0, NULL) || setgid(TEST_UID) || setuid(TEST_UID))
		test_fail("setuid(1000)", "an ordinary user", "%s", result(-1));
	/* setuid() makes /proc/PID unreadable; the tests look where their children sleep. */
	prctl(PR_SET_DUMPABLE, 1);
}

static void in_new_group(void)
{
	sigset_t none;

	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static struct run run_of(const struct test *test, bool in_32_bits)
{
	struct run run = { .test = test, .in_32_bits = in_32_bits };

	snprintf(run.name, sizeof(run.name), "%s%s", test->name, in_32_bits ? SUFFIX_32 : "");
	return run;
}

static unsigned int stages_of(const struct run *run)
{
	return run->test->stages & (run->in_32_bits ? STAGES_IN_32_BITS : ~0u);
}

/* Goes on as the 32-bit program, in this same process: see main() there. */
static void become_32_bits(const struct test *test)
{
	char stage[16], fd[16], factor[32], nth[16];

	snprintf(stage, sizeof(stage), "%d", stage_number);
	snprintf(fd, sizeof(fd), "%d", report_fd);
	snprintf(factor, sizeof(factor), "%.6f", scale);
	snprintf(nth, sizeof(nth), "%d", every_nth);
	fcntl(report_fd, F_SETFD, 0);
	execl(PROGRAM_32, PROGRAM_32, "--stage", stage, "--name", module_name, "--module",
	      module_path, "--body", test->name, "--report", fd, "--scale", factor, "--nth", nth,
	      NULL);
	test_fail("execve(\"" PROGRAM_32 "\")", "a 32-bit program runs",
		  "%s: no fault of the module%s", result(-1),
		  errno == ENOEXEC ? ", this kernel runs no 32-bit programs" : "");
}

static void body(const struct run *run)
{
	const struct test *test = run->test;

	/* If memory runs out, the test goes first and the runner lives on. */
	write_file("/proc/self/oom_score_adj", "900");
	if (!test->loads_itself && module_load(test->params)) {
		if (!report->failed)
			clean_copy(report->saw, sizeof(report->saw), result(-1));
		_exit(EXIT_CANNOT_LOAD);
	}
	if (!test->as_root)
		become_ordinary_user();
	begin_waiting(seconds_for(test));
	if (run->in_32_bits)
		become_32_bits(test);
	test->run();
	_exit(0);
}

/* The test has failed already; what goes wrong afterwards follows from that. */
static bool has_verdict;

static void unload(const struct run *run)
{
	(void)run;
	if (module_is_loaded() && module_unload()) {
		int error = errno;

		if (has_verdict)
			_exit(EXIT_FAILED);
		clean_copy(report->did, sizeof(report->did),
			   "rmmod after the test, no file is open");
		clean_copy(report->wanted, sizeof(report->wanted), "the module goes");
		errno = error;
		clean_copy(report->saw, sizeof(report->saw), result(-1));
		_exit(EXIT_FAILED);
	}
	_exit(0);
}

enum outcome { DONE, TIMED_OUT, UNKILLABLE };

static void read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, buf, size - 1);
		close(fd);
	}
	buf[n > 0 ? n : 0] = '\0';
}

/* Appends where in the kernel process @pid is: the functions of its kernel stack. */
static void describe(pid_t pid, char *to, size_t size)
{
	char stack[2048], stat[256], *line, *save = NULL, *state;
	size_t len = strlen(to);
	int shown = 0;

	read_proc(pid, "stat", stat, sizeof(stat));
	state = strrchr(stat, ')');
	len += snprintf(to + len, size - len, "%sprocess %d, state %c%s", len ? "; " : "", pid,
			state && state[1] ? state[2] : '?',
			state && state[1] && state[2] == 'R' ? " (running)" : "");
	read_proc(pid, "stack", stack, sizeof(stack));
	for (line = strtok_r(stack, "\n", &save); line && shown < 5 && len < size;
	     line = strtok_r(NULL, "\n", &save)) {
		char *name = strchr(line, ']');

		if (!name || !name[1])
			continue;
		len += snprintf(to + len, size - len, "%s %s", shown++ ? " <" : ", in", name + 2);
	}
}

/* Where the processes of the group stand; for the report of a time-out. */
static void describe_group(pid_t group, char *to, size_t size)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int shown = 0;

	to[0] = '\0';
	while (proc && shown < 3 && (entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);
		char stat[256];

		if (pid <= 0 || getpgid(pid) != group)
			continue;
		read_proc(pid, "stat", stat, sizeof(stat));
		if (strstr(stat, ") Z"))
			continue;
		describe(pid, to, size);
		shown++;
	}
	if (proc)
		closedir(proc);
}

/* Waits until @pid (or, if 0, every child) is gone. False at the deadline. */
static bool reap(pid_t pid, long long deadline, int *status)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		struct timespec left = { 0 };
		long long ms;
		int any;
		pid_t got;

		while ((got = waitpid(-1, &any, WNOHANG)) > 0) {
			if (got != pid)
				continue;
			*status = any;
			return true;
		}
		if (got < 0)
			return pid == 0;
		ms = deadline - now_ms();
		if (ms <= 0)
			return false;
		/* A lost SIGCHLD costs 50 ms at most. */
		left.tv_nsec = (ms < 50 ? ms : 50) * 1000000;
		sigtimedwait(&child, NULL, &left);
	}
}

/* Runs fn(run) in a process group of its own and ends every process of it. */
static enum outcome run_group(void (*fn)(const struct run *), const struct run *run,
			      double seconds, int *status)
{
	enum outcome outcome = DONE;
	char where[512] = "";
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		in_new_group();
		fn(run);
	}
	/* Both sides do it, so that it is done whoever runs first. */
	setpgid(pid, pid);

	if (!reap(pid, now_ms() + (long long)(seconds * 1000), status)) {
		outcome = TIMED_OUT;
		describe_group(pid, where, sizeof(where));
	}
	kill(-pid, SIGKILL);
	if (!reap(0, now_ms() + (long long)(KILL_MS * scale), status)) {
		outcome = UNKILLABLE;
		describe_group(pid, where, sizeof(where));
	}
	if (outcome != DONE)
		test_note("%s", where);
	return outcome;
}

static const char *judge_body(enum outcome outcome, int status)
{
	if (outcome == UNKILLABLE)
		return "unkillable";
	if (outcome == TIMED_OUT)
		return "time-out";
	if (WIFSIGNALED(status)) {
		snprintf(report->saw, sizeof(report->saw),
			 "the test process died of signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
		return "crashed";
	}
	if (WEXITSTATUS(status) == EXIT_CANNOT_LOAD)
		return "cannot-load";
	/* A child of the test may have failed although the test itself returned. */
	return WEXITSTATUS(status) || report->failed ? "failed" : NULL;
}

static const char *judge_unload(enum outcome outcome, int status)
{
	static const char *const words[] = { NULL, "time-out", "unkillable" };

	if (outcome != DONE && !has_verdict) {
		snprintf(report->did, sizeof(report->did), "rmmod %s", module_name);
		snprintf(report->saw, sizeof(report->saw), "rmmod does not return");
	}
	if (outcome != DONE)
		return words[outcome];
	return WIFSIGNALED(status) || WEXITSTATUS(status) ? "cannot-unload" : NULL;
}

static void tell(const char *word, const char *text)
{
	if (*text)
		printf("# %s: %s\n", word, text);
}

/* Returns false if the kernel cannot be used any more. */
static bool run_test(const struct run *run, int index)
{
	double seconds = seconds_for(run->test);
	const char *verdict, *at_unload = NULL;
	enum outcome outcome;
	long long start = now_ms();
	int status = 0;

	memset(report, 0, sizeof(*report));
	/* The host waits as long as this, and a bit for who has to be killed. */
	printf("# begin %s %.1f\n", run->name, seconds);
	fflush(stdout);
	leaks_begin(run->name);
	forget_log();
	mark_log("begin", run->name);

	outcome = run_group(body, run, seconds, &status);
	verdict = judge_body(outcome, status);
	has_verdict = verdict;
	if (outcome != UNKILLABLE) {
		printf("# unload %.1f\n", DEFAULT_SECONDS * scale);
		outcome = run_group(unload, run, DEFAULT_SECONDS * scale, &status);
		at_unload = judge_unload(outcome, status);
		if (!verdict || outcome == UNKILLABLE)
			verdict = at_unload;
	}

	mark_log("end", run->name);
	if (verdict) {
		printf("# verdict: %s\n", verdict);
		tell("did", report->did);
		tell("wanted", report->wanted);
		tell("saw", report->saw);
		tell("note", report->note);
		show_log();
	}
	printf("# ms: %lld\n", now_ms() - start);
	printf("%s %d %s\n", verdict ? "not ok" : "ok", index, run->name);
	if (outcome == UNKILLABLE)
		printf("Bail out! %s left a process that cannot be killed\n", run->name);
	else if (at_unload)
		printf("Bail out! %s left a module that cannot be unloaded\n", run->name);
	fflush(stdout);
	return outcome != UNKILLABLE && !at_unload;
}

/*
 * How much slower than the reference machine? Forks and switches, as the tests do; returns how
 * many milliseconds these took.
 */
static double calibrate(void)
{
	struct timespec start, end;
	double ms;
	int ab[2], ba[2], status;
	char byte = 0;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < 8; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, &status, 0);
	}
	if (pipe(ab) || pipe(ba))
		return 0;
	if (!fork()) {
		for (int i = 0; i < 50; i++)
			if (read(ab[0], &byte, 1) != 1 || write(ba[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (int i = 0; i < 50; i++)
		if (write(ab[1], &byte, 1) != 1 || read(ba[0], &byte, 1) != 1)
			break;
	wait(&status);
	clock_gettime(CLOCK_MONOTONIC, &end);
	for (int i = 0; i < 2; i++) {
		close(ab[i]);
		close(ba[i]);
	}
	ms = (end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6;
	scale = ms > REFERENCE_MS ? ms / REFERENCE_MS : 1.0;
	/* The host believes no more than that. */
	scale = scale < MOST_SCALE ? scale : MOST_SCALE;
	return ms;
}

/*
 * Once more, now that the test begins: while other machines start and a compiler works this one
 * may have looked slower than it is, and some tests let so much time pass.
 */
static double calibrate_again(double took)
{
	double before = scale, ms;

	if (scale < LOOKS_SLOW)
		return took;
	ms = calibrate();
	if (ms < took)
		return ms;
	scale = before;
	return took;
}

/*
 * Each rmmod waits for grace periods, and the judge boots kernels to expedite these. One with
 * PREEMPT_RT does so only when it is told to again, once it runs.
 */
static void expedite_grace_periods(void)
{
	write_file("/sys/kernel/rcu_normal", "0");
}

/* A process that hangs is reported within the time-out of its test. */
static void watch_for_hung_tasks(void)
{
	char seconds[16];

	snprintf(seconds, sizeof(seconds), "%d", (int)(HUNG_SECONDS * scale));
	write_file("/proc/sys/kernel/hung_task_timeout_secs", seconds);
	write_file("/proc/sys/kernel/hung_task_check_interval_secs", "1");
}

/* Both runs of all tests, in their order; NULL at the end. */
static const struct run *next_run(const struct run *run)
{
	static struct run next;
	const struct test *test = run ? run->test : __start_tests;

	if (run && !run->in_32_bits && test->both_widths) {
		next = run_of(test, true);
		return &next;
	}
	test += run ? 1 : 0;
	if (test >= __stop_tests)
		return NULL;
	next = run_of(test, false);
	return &next;
}

static struct run find(const char *name)
{
	for (const struct run *run = next_run(NULL); run; run = next_run(run))
		if (!strcmp(run->name, name))
			return *run;
	fprintf(stderr, "no test has the name %s; --list shows them\n", name);
	exit(2);
}

/* The tests that a file names, one a line. */
static size_t read_names(const char *path, struct run *runs, size_t max)
{
	FILE *file = fopen(path, "r");
	char line[128];
	size_t count = 0;

	if (!file) {
		perror(path);
		exit(2);
	}
	while (count < max && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (*line)
			runs[count++] = find(line);
	}
	fclose(file);
	return count;
}

/*
 * Until somebody opens the file for writing. If that was before us there is a file by now, and
 * no wait.
 */
static void wait_for(const char *path)
{
	int fd;

	mkfifo(path, 0600);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(path);
		exit(2);
	}
	close(fd);
}

static void list_all(void)
{
	for (const struct run *run = next_run(NULL); run; run = next_run(run)) {
		printf("%s\t%x\t%d\t%s\t%s%s\t", run->name, stages_of(run),
		       run->test->alone ? 1 : 2, run->test->page, run->test->says,
		       run->in_32_bits ? " (32-bit program)" : "");
		/* What this run needs, which not every kernel has: words, or nothing. */
		printf("%s%s%s\n", run->test->needs ? run->test->needs : "",
		       run->test->needs && run->in_32_bits ? " " : "",
		       run->in_32_bits ? NEEDS_32 : "");
	}
}

/* One body of a test, for a runner that has executed us and holds the other end of @fd. */
static void run_body(const char *name, int fd)
{
	const struct test *test = find(name).test;

	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (report == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	close(fd);
	begin_waiting(seconds_for(test));
	test->run();
	_exit(0);
}

static void usage(FILE *to)
{
	fprintf(to, "usage: kmsgpipe-test --stage N --name MODULE --module FILE --tests FILE\n"
		    "       kmsgpipe-test --list\n"
		    "Runs the tests that FILE names, one a line, as root, and reports in KTAP.\n"
		    "With --begin FILE it waits, and is silent, until somebody writes to that FILE.\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "stage", required_argument, NULL, 's' },
		{ "module", required_argument, NULL, 'm' },
		{ "name", required_argument, NULL, 'n' },
		{ "tests", required_argument, NULL, 't' },
		{ "begin", required_argument, NULL, 'g' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		/* What become_32_bits() says: not for people. */
		{ "body", required_argument, NULL, 'b' },
		{ "report", required_argument, NULL, 'r' },
		{ "scale", required_argument, NULL, 'f' },
		{ "nth", required_argument, NULL, 'e' },
		{ NULL, 0, NULL, 0 },
	};
	static struct run runs[MAX_TESTS];
	const char *tests_path = NULL, *begin_path = NULL, *body_of = NULL;
	double took;
	size_t count;
	sigset_t child;
	int opt;

	while ((opt = getopt_long(argc, argv, "s:m:n:t:lh", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			stage_number = atoi(optarg);
			break;
		case 'm':
			module_path = optarg;
			break;
		case 'n':
			module_name = optarg;
			break;
		case 't':
			tests_path = optarg;
			break;
		case 'g':
			begin_path = optarg;
			break;
		case 'l':
			list_all();
			return 0;
		case 'b':
			body_of = optarg;
			break;
		case 'r':
			report_fd = atoi(optarg);
			break;
		case 'f':
			scale = atof(optarg);
			break;
		case 'e':
			every_nth = atoi(optarg);
			break;
		default:
			usage(opt == 'h' ? stdout : stderr);
			return opt == 'h' ? 0 : 2;
		}
	}
	if (!stage_number || !module_path || !module_name || !(tests_path || body_of)) {
		usage(stderr);
		return 2;
	}
	if (body_of)
		run_body(body_of, report_fd);

	/* A file: a program that a test executes can map it, too. */
	report_fd = memfd_create("report", MFD_CLOEXEC);
	if (report_fd < 0 || ftruncate(report_fd, sizeof(*report))) {
		perror("memfd_create");
		return 2;
	}
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED, report_fd, 0);
	if (report == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	/* Orphans of a test come to us, so that none can live on unseen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	write_file("/proc/self/oom_score_adj", "-900");
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);

	took = calibrate();
	if (leaks_are_watched())
		every_nth = 20;
	watch_for_hung_tasks();
	expedite_grace_periods();
	share_what_is_told();
	if (begin_path)
		wait_for(begin_path);
	took = calibrate_again(took);
	count = read_names(tests_path, runs, MAX_TESTS);
	printf("KTAP version 1\n1..%zu\n", count);
	printf("# scale %.2f (calibration took %.1f ms)\n", scale, took);
	for (size_t i = 0; i < count; i++)
		if (!run_test(&runs[i], i + 1))
			return 1;
	leaks_report(scale);
	return 0;
}
