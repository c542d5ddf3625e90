/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The test harness: registers tests, runs each one in its own processes with its
 * own time-out, and reports in KTAP.
 *
 * A test is a function that returns when all is well and calls an expect macro
 * otherwise. Any process that a test forks may do so; the first failure counts.
 *
 *	TEST(read_returns_what_was_written,
 *	     .says = "read() returns what was written",
 *	     .stages = ALL_STAGES, .page = "lab1.md#reading")
 *	{
 *		int fd = device_open(O_RDWR);
 *
 *		device_write(fd, "hello", 5);
 *		...
 *	}
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/types.h>

/* Which stages a test judges. Stage numbers: lab1 is 1, ... */
#define STAGE(n)	(1u << (n))
#define FROM_STAGE(n)	(~0u << (n))
#define ALL_STAGES	FROM_STAGE(1)

/* Before lab 4 no command and no struct tells a 32-bit program from a 64-bit one. */
#define STAGES_IN_32_BITS FROM_STAGE(4)

/*
 * What not every kernel or machine has; the host leaves such a test out there and says so.
 * judge/needs.py knows these words.
 */
#define FAULT_INJECTION	"fault-injection"

/**
 * struct test - one behaviour
 * @name: what is said to be true when it passes, in words joined by '_'
 * @says: the behaviour as a sentence
 * @page: where docs/labs/ explains it, as FILE#ANCHOR
 * @params: module parameters to load with; NULL is none
 * @needs: what not every kernel has, such as FAULT_INJECTION; NULL is nothing
 * @stages: for which stages it holds, a set of STAGE() bits
 * @seconds: time-out on the reference machine; 0 means DEFAULT_SECONDS
 * @loads_itself: the test loads and unloads the module on its own
 * @alone: no two processes have to run at the same moment: one CPU is enough
 * @as_root: the test needs root; otherwise it runs as an ordinary user
 * @both_widths: it is run a second time, as a 32-bit program, in STAGES_IN_32_BITS
 * @run: the test
 */
struct test {
	const char *name;
	const char *says;
	const char *page;
	const char *params;
	const char *needs;
	unsigned int stages;
	unsigned int seconds;
	bool loads_itself;
	bool alone;
	bool as_root;
	bool both_widths;
	void (*run)(void);
} __attribute__((aligned(8)));

#define DEFAULT_SECONDS	5

/* Tests enlist themselves: the linker gathers them in one array, in source order. */
#define TEST(name_, ...)						\
	static void test_##name_(void);					\
	static const struct test entry_##name_				\
	__attribute__((used, section("tests"), aligned(8))) = {		\
		.name = #name_, .run = test_##name_, __VA_ARGS__	\
	};								\
	static void test_##name_(void)

/* The linker makes these two from the section that TEST() fills. */
extern const struct test __start_tests[], __stop_tests[];

/* A test in which no two processes have to run at the same moment; they may sleep, though. */
#define SOLO(name_, ...)	TEST(name_, .alone = true, __VA_ARGS__)

/**
 * test_fail() - end this test as failed
 * @did: what was done, as a C reader would write it
 * @wanted: what should have come of it
 * @saw: printf format of what came of it
 *
 * Context: any process of the test. Does not return.
 */
void test_fail(const char *did, const char *wanted, const char *saw, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

/* A sentence for the report that explains a later failure; the last one counts. */
void test_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define expect(cond, did, wanted, ...)					\
	do {								\
		if (!(cond))						\
			test_fail(did, wanted, __VA_ARGS__);		\
	} while (0)

/* What a system call gave, in words: "7" or "-1 (EAGAIN: Resource ...)". */
const char *result(long ret);

/* Checks a call that should return a value. */
#define expect_value(call, value)					\
	do {								\
		long ret_ = (call), value_ = (value);			\
		if (ret_ != value_)					\
			test_fail(#call, number(value_), "%s", result(ret_)); \
	} while (0)

/* Checks a call that should fail with this errno. */
#define expect_errno(call, error)					\
	do {								\
		long ret_ = (call);					\
		if (ret_ != -1 || errno != (error))			\
			test_fail(#call, "-1 (" #error ")", "%s", result(ret_)); \
	} while (0)

const char *number(long value);

/* 1 on the reference machine, more where everything takes longer. */
double time_scale(void);

/*
 * How often to repeat something: @many times, which are 20 at least. On a kernel that finds leaks
 * (kmemleak) one in twenty of them: it takes ten times as long for each, as it checks its own
 * steps, and reports the first that goes wrong.
 */
int rounds(int many);

/* Writes @text to a file of the kernel's; on one that has no such file nothing is done. */
void write_file(const char *path, const char *text);

/*
 * True for each round from 0 up to @many; or up to @least, once a third of the test's time is
 * over. For what is seen by chance only, and more surely the more often it is tried: how long a
 * try takes differs more between kernels than the calibration tells.
 */
bool another_round(int round, int least, int many);

/* Milliseconds since some moment, for deadlines. */
long long now_ms(void);

/*
 * False when a test that waits should give up and say for what: a bit before the
 * runner would end it without a word. Sleeps a moment otherwise:
 *
 *	while (!child_is_asleep() && wait_a_moment())
 *		;
 */
bool wait_a_moment(void);

/* The module under test: its name and its file. */
extern const char *module_name, *module_path;
extern int stage_number;

#endif
