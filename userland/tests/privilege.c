// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "privilege.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

#define USER 1000

static void set_capabilities(uint64_t mask)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = mask, .permitted = mask },
		{ .effective = mask >> 32, .permitted = mask >> 32 },
	};

	expect_value(syscall(SYS_capset, &header, data), 0);
}

static uint64_t capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	expect_value(syscall(SYS_capget, &header, data), 0);
	return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static void become_user(void)
{
	expect_value(setgroups(0, NULL), 0);
	expect_value(setgid(USER), 0);
	expect_value(setuid(USER), 0);
}

static void write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	/* Only some kernels have each of these; what counts is whether unshare() works. */
	if (fd < 0)
		return;
	expect(write(fd, text, strlen(text)) == (ssize_t)strlen(text), path, "it takes the text",
	       "%s", result(-1));
	close(fd);
}

static void become_namespace_root(void)
{
	write_proc("/proc/sys/kernel/unprivileged_userns_clone", "1");
	write_proc("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0");
	write_proc("/proc/sys/user/max_user_namespaces", "100");
	become_user();
	/* Otherwise /proc/self belongs to root, and the map below cannot be written. */
	prctl(PR_SET_DUMPABLE, 1);
	expect(!unshare(CLONE_NEWUSER), "unshare(CLONE_NEWUSER)",
	       "0: this test needs user namespaces, its failure is no fault of the module", "%s",
	       result(-1));
	write_proc("/proc/self/setgroups", "deny");
	write_proc("/proc/self/uid_map", "0 1000 1");
	expect_value(geteuid(), 0);
	expect(capabilities() >> CAP_SYS_ADMIN & 1, "unshare(CLONE_NEWUSER)",
	       "CAP_SYS_ADMIN in the new namespace", "none");
}

void become(enum who who)
{
	switch (who) {
	case WHO_USER:
		become_user();
		break;
	case WHO_WEAK_ROOT:
		set_capabilities(capabilities() & ~(1ULL << CAP_SYS_ADMIN));
		break;
	case WHO_NAMESPACE_ROOT:
		become_namespace_root();
		break;
	case WHO_ADMIN_USER:
		expect_value(prctl(PR_SET_KEEPCAPS, 1), 0);
		become_user();
		set_capabilities(1ULL << CAP_SYS_ADMIN);
		break;
	case WHO_ROOT:
		break;
	}
}

const char *who_says(enum who who)
{
	static const char *const words[] = {
		[WHO_USER] = "an ordinary user",
		[WHO_WEAK_ROOT] = "root without CAP_SYS_ADMIN",
		[WHO_NAMESPACE_ROOT] = "an ordinary user who is root in a user namespace",
		[WHO_ADMIN_USER] = "an ordinary user with CAP_SYS_ADMIN",
		[WHO_ROOT] = "root",
	};

	return words[who];
}
