// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the lab VM.
 *
 * It mounts what a kernel offers, opens its own serial port, and then does what
 * the host says on that port, one line a command:
 *
 *   hello SECONDS SEED       set the clock, stir SEED into the random pool
 *   put HOW PATH MODE SIZE CRC
 *                            create PATH, or append to it, from the shared memory
 *   run UID PROGRAM ARG...   start a program, its output goes to this port
 *   session UID ROWS COLS    start bash on the second port
 *   asleep NAME              wait until process NAME sleeps in /dev/kmsgpipe*
 *   off                      power off
 *
 * Every answer of PID 1 itself starts with '@', so that it cannot be mixed up with
 * the output of what it runs. The kernel's console is another port: nothing
 * that a module prints arrives here.
 *
 * PID 1 never touches the device under test and never waits for a process without
 * listening to the host: whatever a module does to its callers, the host gets an
 * answer as long as one CPU still runs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <grp.h>
#include <unistd.h>

#define MAX_ARGS 32
#define ASLEEP_TRIES 2000

static int port = -1;
static pid_t running;
static pid_t session;

static void reply(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void reply(const char *fmt, ...)
{
	char line[512];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line) - 1, fmt, args);
	va_end(args);
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	/* A single write, so that a running program's line does not fall into it. */
	if (write(port, line, len) != len)
		/* Nobody is left to tell; the host notices the silence. */
		return;
}

static void mount_all(void)
{
	static const struct {
		const char *type, *dir;
	} table[] = {
		{ "devtmpfs", "/dev" },	 { "proc", "/proc" },
		{ "sysfs", "/sys" },	 { "debugfs", "/sys/kernel/debug" },
		{ "tmpfs", "/tmp" },	 { "devpts", "/dev/pts" },
		{ "tmpfs", "/dev/shm" }, { "tracefs", "/sys/kernel/tracing" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		mkdir(table[i].dir, 0755);
		/* One that this kernel lacks is missed by whoever needs it. */
		mount(table[i].type, table[i].dir, table[i].type, 0, NULL);
	}
	chmod("/tmp", 01777);
	chmod("/dev/shm", 01777);
}

static int open_tty(const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		fprintf(stderr, "init: %s: %s\n", path, strerror(errno));
	return fd;
}

static void make_raw(int fd)
{
	struct termios tio;

	tcgetattr(fd, &tio);
	cfmakeraw(&tio);
	tio.c_cflag |= CLOCAL;
	cfsetspeed(&tio, B115200);
	tcsetattr(fd, TCSANOW, &tio);
}

static uint32_t crc32(const unsigned char *data, size_t len)
{
	uint32_t crc = ~0u;

	while (len--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static bool pci_id_is(const char *device, const char *file, const char *id)
{
	char path[PATH_MAX], text[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return !strncmp(text, id, strlen(id));
}

/*
 * The memory that we share with the host is the second BAR of a PCI device
 * (QEMU's docs/specs/ivshmem-spec); sysfs maps it without any driver.
 */
static const unsigned char *map_window(size_t *size)
{
	DIR *devices = opendir("/sys/bus/pci/devices");
	char path[PATH_MAX];
	struct dirent *entry;
	void *window = MAP_FAILED;
	struct stat st;
	int fd;

	while (devices && window == MAP_FAILED && (entry = readdir(devices))) {
		if (!pci_id_is(entry->d_name, "vendor", "0x1af4") ||
		    !pci_id_is(entry->d_name, "device", "0x1110"))
			continue;
		/* Without a driver nobody else has switched the device on. */
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", entry->d_name);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			if (write(fd, "1", 1) != 1)
				fprintf(stderr, "init: %s: %s\n", path, strerror(errno));
			close(fd);
		}
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource2", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st))
			continue;
		*size = st.st_size;
		window = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (devices)
		closedir(devices);
	return window == MAP_FAILED ? NULL : window;
}

static void do_put(char **args)
{
	static const unsigned char *window;
	static size_t room;
	const char *path = args[1];
	size_t size = strtoul(args[3], NULL, 10);
	bool append = !strcmp(args[0], "append");
	bool whole;
	int fd;

	if (!window)
		window = map_window(&room);
	if (!window || size > room) {
		reply("@error no memory is shared with the host");
		return;
	}
	if (crc32(window, size) != strtoul(args[4], NULL, 16)) {
		reply("@error %s was damaged on its way", path);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0600);
	if (fd < 0) {
		reply("@error %s: %s", path, strerror(errno));
		return;
	}
	whole = write(fd, window, size) == (ssize_t)size;
	fchmod(fd, strtoul(args[2], NULL, 8));
	close(fd);
	if (whole)
		reply("@ok");
	else
		reply("@error %s: no space", path);
}

static void become(uid_t uid)
{
	if (!uid)
		return;
	if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
		_exit(126);
	setenv("HOME", "/home/student", 1);
	setenv("USER", "student", 1);
}

/* -1000: the out-of-memory killer never takes this process; 0: as any other. */
static void set_oom_score(const char *score)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, score, strlen(score)) < 0)
		fprintf(stderr, "init: oom_score_adj: %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* What a child inherits from PID 1 and should not. */
static void reset_child(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	set_oom_score("0");
	setsid();
}

static void do_run(char **args)
{
	if (running) {
		reply("@error busy");
		return;
	}
	running = fork();
	if (running)
		return;
	reset_child();
	dup2(port, 1);
	dup2(port, 2);
	become(strtoul(args[0], NULL, 10));
	execv(args[1], args + 1);
	dprintf(2, "# cannot start %s: %s\n", args[1], strerror(errno));
	_exit(127);
}

static void do_session(char **args)
{
	static const char *const argv[] = {
		"bash", "--noediting", "--rcfile", "/etc/bashrc", "-i", NULL
	};
	struct winsize size = {
		.ws_row = strtoul(args[1], NULL, 10),
		.ws_col = strtoul(args[2], NULL, 10),
	};
	const char *name = getenv("SHELL_PORT");
	struct termios tio;
	int fd;

	session = fork();
	if (session)
		return;
	reset_child();
	fd = open_tty(name ? name : "ttyS2");
	if (fd < 0)
		_exit(126);
	ioctl(fd, TIOCSCTTY, 1);
	ioctl(fd, TIOCSWINSZ, &size);
	tcgetattr(fd, &tio);
	tio.c_cflag |= CLOCAL;
	tcsetattr(fd, TCSANOW, &tio);
	fchmod(fd, 0666);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	become(strtoul(args[0], NULL, 10));
	if (chdir("/home/student"))
		_exit(126);
	execv("/bin/bash", (char *const *)argv);
	_exit(127);
}

/* Reads a short file of /proc into buf; an empty string when there is none. */
static void read_proc(const char *pid, const char *name, char *buf, size_t size)
{
	char path[128];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, buf, size - 1);
		close(fd);
	}
	buf[n > 0 ? n : 0] = '\0';
}

/* True if the process sleeps in a system call whose first argument is the device. */
static bool sleeps_in_device(const char *pid)
{
	char text[256], fd_path[128], target[PATH_MAX];
	unsigned long number, fd;
	ssize_t n;

	read_proc(pid, "syscall", text, sizeof(text));
	if (sscanf(text, "%lu %lx", &number, &fd) != 2)
		return false;
	snprintf(fd_path, sizeof(fd_path), "/proc/%s/fd/%lu", pid, fd);
	n = readlink(fd_path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return !strncmp(target, "/dev/kmsgpipe", strlen("/dev/kmsgpipe"));
}

static bool someone_sleeps(const char *name)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = false;
	char comm[64];

	while (proc && !found && (entry = readdir(proc))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		read_proc(entry->d_name, "comm", comm, sizeof(comm));
		comm[strcspn(comm, "\n")] = '\0';
		found = !strcmp(comm, name) && sleeps_in_device(entry->d_name);
	}
	if (proc)
		closedir(proc);
	return found;
}

static void do_asleep(char **args)
{
	const struct timespec pause = { .tv_nsec = 5000000 };

	for (int i = 0; i < ASLEEP_TRIES; i++) {
		if (someone_sleeps(args[0])) {
			reply("@ok");
			return;
		}
		nanosleep(&pause, NULL);
	}
	reply("@error no %s sleeps in the device", args[0]);
}

static void do_hello(char **args)
{
	struct timespec now = { .tv_sec = strtoll(args[0], NULL, 10) };
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	/* A resumed VM would otherwise live in the past, and draw the same numbers. */
	clock_settime(CLOCK_REALTIME, &now);
	if (fd >= 0) {
		if (write(fd, args[1], strlen(args[1])) < 0)
			reply("@warning the seed was not taken");
		close(fd);
	}
	reply("@hello %s", args[1]);
}

static void do_off(char **args)
{
	(void)args;
	reply("@off");
	tcdrain(port);
	reboot(RB_POWER_OFF);
}

static const struct {
	const char *name;
	int min_args;
	void (*act)(char **args);
} commands[] = {
	{ "hello", 2, do_hello },     { "put", 5, do_put },	  { "run", 2, do_run },
	{ "session", 3, do_session }, { "asleep", 1, do_asleep }, { "off", 0, do_off },
};

static void obey(char *line)
{
	char *args[MAX_ARGS + 1] = { NULL }, *save = NULL, *word = strtok_r(line, " ", &save);
	int count = 0;

	if (!word)
		return;
	while (count < MAX_ARGS && (args[count] = strtok_r(NULL, " ", &save)))
		count++;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(word, commands[i].name))
			continue;
		if (count >= commands[i].min_args)
			commands[i].act(args);
		else
			reply("@error %s needs %d words", word, commands[i].min_args);
		return;
	}
	reply("@error unknown command %s", word);
}

static void obey_all(void)
{
	static char line[4096];
	static size_t len;
	char text[256];
	ssize_t n = read(port, text, sizeof(text));

	for (ssize_t i = 0; i < n; i++) {
		if (text[i] != '\n') {
			if (len < sizeof(line) - 1)
				line[len++] = text[i];
			continue;
		}
		line[len] = '\0';
		len = 0;
		obey(line);
	}
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

		if (pid == running) {
			running = 0;
			reply("@exit %d", code);
		} else if (pid == session) {
			session = 0;
			reply("@session-exit %d", code);
		}
	}
}

int main(void)
{
	const char *name = getenv("JUDGE_PORT");
	struct pollfd fds[2];
	sigset_t child;

	mount_all();
	setenv("PATH", "/usr/local/bin:/bin:/sbin", 1);
	port = open_tty(name ? name : "ttyS1");
	if (port < 0)
		reboot(RB_POWER_OFF);
	make_raw(port);
	set_oom_score("-1000");
	mlockall(MCL_CURRENT);

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	fds[0] = (struct pollfd){ .fd = port, .events = POLLIN };
	fds[1] = (struct pollfd){
		.fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN
	};

	reply("@ready");
	for (;;) {
		struct signalfd_siginfo info;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents && read(fds[1].fd, &info, sizeof(info)) > 0)
			reap();
		if (fds[0].revents)
			obey_all();
	}
}
