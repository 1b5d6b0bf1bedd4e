/*
 * A villain in the VMM's place. It is found as "qemu-system-x86_64", says that it is QEMU, answers the control protocol
 * as far as a start goes, and then does one act, which the kernel's command line names. What came of it goes to the
 * guest channel: "starting" or "running", and the call's result.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static int monitor = -1, channel = -1;

static void say(const char *format, ...)
{
	char text[4096];
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	for (int done = 0; done < length;) {
		ssize_t part = write(channel, text + done, length - done);
		if (part <= 0)
			_exit(9);
		done += part;
	}
}

/* Result of a call: its value, or the error's number with a minus. */
static long result(long value)
{
	return value < 0 ? -errno : value;
}

#define CALL(...) result(syscall(__VA_ARGS__))

static void *map(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* ---- Acts. Each returns what its decisive call did. ---- */

static const char *target; /* a path or number of the act's, or "" */

static long number(void) { return strtol(target, NULL, 0); }

static long act_nothing(void) { return 0; }

/* How many descriptors are open. */
static long act_given(void)
{
	long given = 0;
	for (int fd = 0; fd < 1024; fd++)
		given += fcntl(fd, F_GETFD) >= 0;
	return given;
}

/* Opens every descriptor again for writing by its name in /proc; how many could be opened and were files of disks. */
static long act_reopen(void)
{
	long opened = 0, last = -ENOENT;
	for (int fd = 3; fd < 64; fd++) {
		struct stat status;
		char path[64];
		if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		long again = CALL(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
		if (again >= 0)
			opened++;
		else
			last = again;
	}
	return opened ? opened : last;
}

/* The descriptor of a read-only disk: a regular file that cannot be written to and is not in memory. */
static int layer(void)
{
	for (int fd = 3; fd < 64; fd++) {
		struct stat status;
		if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1 &&
		    (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
			return fd;
	}
	return -1;
}

static long act_write_layer(void) { return CALL(SYS_pwrite64, layer(), "x", 1, 0); }
static long act_fchmod(void) { return CALL(SYS_fchmod, layer(), 0666); }
static long act_fchown(void) { return CALL(SYS_fchown, layer(), 0, 0); }
static long act_fsetxattr(void) { return CALL(SYS_fsetxattr, layer(), "user.x", "y", 1, 0); }
static long act_fremovexattr(void) { return CALL(SYS_fremovexattr, layer(), "user.x"); }
static long act_ftruncate(void) { return CALL(SYS_ftruncate, layer(), 0); }
static long act_fallocate(void) { return CALL(SYS_fallocate, layer(), 0, 0, 1 << 20); }
static long act_punch(void)
{
	return CALL(SYS_fallocate, layer(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
}
static long act_map_layer(void)
{
	return CALL(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, layer(), 0) > 0 ? 0 : -errno;
}
/* The tap, or the layer where there is none. */
static int tap(void)
{
	for (int fd = 3; fd < 64; fd++) {
		struct stat status;
		if (fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(10, 200))
			return fd;
	}
	return layer();
}

/* linux/if_tun.h, netdevice(7) */
static long act_tap_offload(void) { return CALL(SYS_ioctl, tap(), 0x400454d0, 0); }
static long act_tap_name(void) { return CALL(SYS_ioctl, tap(), 0x800454d2, map(64)); }
static long act_tap_new(void) { return CALL(SYS_ioctl, tap(), 0x400454ca, map(64)); }
static long act_tap_queue(void) { return CALL(SYS_ioctl, tap(), 0x400454d9, map(64)); }
static long act_tap_persist(void) { return CALL(SYS_ioctl, tap(), 0x400454cb, 1); }
static long act_tap_owner(void) { return CALL(SYS_ioctl, tap(), 0x400454cc, 0); }
static long act_tap_filter(void) { return CALL(SYS_ioctl, tap(), 0x401054d5, map(64)); }
static long act_tap_link(void) { return CALL(SYS_ioctl, tap(), 0x400454cd, 1); }
static long act_utimens(void) { return CALL(SYS_utimensat, layer(), NULL, NULL, 0); }
static long act_futimens_flags(void) { return CALL(SYS_ioctl, layer(), 0x40086602, map(8)); } /* FS_IOC_SETFLAGS */
static long act_lease(void) { return CALL(SYS_fcntl, layer(), F_SETLEASE, F_WRLCK); }
static long act_seals(void) { return CALL(SYS_fcntl, layer(), F_ADD_SEALS, 1); }
static long act_notify(void) { return CALL(SYS_fcntl, layer(), F_NOTIFY, 1); }
static long act_link(void)
{
	return CALL(SYS_linkat, layer(), "", AT_FDCWD, "/tmp/linked", AT_EMPTY_PATH);
}
static long act_handle(void)
{
	struct { struct file_handle handle; char room[128]; } it = { .handle.handle_bytes = 128 };
	int mount;
	return CALL(SYS_name_to_handle_at, layer(), "", &it, &mount, AT_EMPTY_PATH);
}
static long act_open_by_handle(void)
{
	struct { struct file_handle handle; char room[128]; } it = { .handle.handle_bytes = 8 };
	return CALL(SYS_open_by_handle_at, layer(), &it, O_RDWR);
}

static long act_open(void) { return CALL(SYS_openat, AT_FDCWD, target, O_RDONLY, 0); }
static long act_open_old(void) { return CALL(SYS_open, target, O_RDONLY, 0); }
static long act_openat2(void)
{
	uint64_t how[3] = { O_RDONLY, 0, 0 };
	return CALL(SYS_openat2, AT_FDCWD, target, how, sizeof how);
}
static long act_open_write(void) { return CALL(SYS_openat, AT_FDCWD, target, O_RDWR, 0); }
static long act_create(void) { return CALL(SYS_openat, AT_FDCWD, target, O_RDWR | O_CREAT, 0600); }
static long act_stat(void)
{
	struct stat status;
	return CALL(SYS_newfstatat, AT_FDCWD, target, &status, 0);
}
static long act_stat_empty_path(void)
{
	struct stat status;
	return CALL(SYS_newfstatat, AT_FDCWD, target, &status, AT_EMPTY_PATH);
}
static long act_statx(void) { return CALL(SYS_statx, AT_FDCWD, target, 0, 0xfff, map(4096)); }
static long act_access(void) { return CALL(SYS_access, target, R_OK); }
static long act_readlink(void) { return CALL(SYS_readlink, "/proc/self/exe", map(4096), 4096); }
static long act_unlink(void) { return CALL(SYS_unlink, target); }
static long act_rename(void) { return CALL(SYS_rename, target, "/tmp/renamed"); }
static long act_mkdir(void) { return CALL(SYS_mkdir, "/tmp/made", 0700); }
static long act_mknod(void) { return CALL(SYS_mknod, "/tmp/node", S_IFCHR | 0600, 0x0101); }
static long act_truncate(void) { return CALL(SYS_truncate, target, 0); }
static long act_chmod(void) { return CALL(SYS_chmod, target, 0777); }
static long act_inotify(void) { return CALL(SYS_inotify_init1, 0); }
static long act_fanotify(void) { return CALL(SYS_fanotify_init, 0, 0); }

static long act_socket_inet(void) { return CALL(SYS_socket, AF_INET, SOCK_STREAM, 0); }
static long act_socket_unix(void) { return CALL(SYS_socket, AF_UNIX, SOCK_DGRAM, 0); }
static long act_socket_netlink(void) { return CALL(SYS_socket, AF_NETLINK, SOCK_RAW, 0); }
static long act_socket_packet(void) { return CALL(SYS_socket, AF_PACKET, SOCK_RAW, 0); }
static long act_socket_alg(void) { return CALL(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0); }
static long act_socketpair(void)
{
	int pair[2];
	return CALL(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, pair);
}
/* To a socket of the host's, by an address, over a socket that there is already. */
static long send_to(const char *path, int abstract)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path + abstract, path, sizeof address.sun_path - 2);
	struct iovec part = { "x", 1 };
	struct msghdr message = { .msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &part, .msg_iovlen = 1 };
	return CALL(SYS_sendmsg, channel, &message, 0);
}
static long act_sendmsg_path(void) { return send_to(target, 0); }
static long act_sendmsg_abstract(void) { return send_to(target, 1); }
static long act_sendto(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, target, sizeof address.sun_path - 1);
	return CALL(SYS_sendto, channel, "x", 1, 0, &address, sizeof address);
}
static long act_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, target, sizeof address.sun_path - 1);
	return CALL(SYS_connect, channel, &address, sizeof address);
}
static long act_accept(void) { return CALL(SYS_accept4, monitor, NULL, NULL, 0); }

static long act_kill(void) { return CALL(SYS_kill, number(), 0); }
static long act_tkill(void) { return CALL(SYS_tkill, number(), 0); }
static long act_tgkill(void) { return CALL(SYS_tgkill, number(), number(), 0); }
static long act_tgkill_own(void) { return CALL(SYS_tgkill, getpid(), gettid(), 0); }
static long act_sigqueue(void) { return CALL(SYS_rt_sigqueueinfo, number(), SIGUSR1, map(256)); }
static long act_pidfd(void) { return CALL(SYS_pidfd_open, number(), 0); }
static long act_pidfd_getfd(void) { return CALL(SYS_pidfd_getfd, 3, 0, 0); }
static long act_setown(void) { return CALL(SYS_fcntl, channel, F_SETOWN, number()); }
static long act_ptrace(void) { return CALL(SYS_ptrace, 16 /* PTRACE_ATTACH */, number(), 0, 0); }
static long act_vm_read(void)
{
	struct iovec local = { map(16), 16 }, remote = { (void *)0x400000, 16 };
	return CALL(SYS_process_vm_readv, number(), &local, 1, &remote, 1, 0);
}
static long act_vm_write(void)
{
	struct iovec local = { map(16), 16 }, remote = { (void *)0x400000, 16 };
	return CALL(SYS_process_vm_writev, number(), &local, 1, &remote, 1, 0);
}
static long act_process_madvise(void) { return CALL(SYS_process_madvise, 3, NULL, 0, 0, 0); }
static long act_kcmp(void) { return CALL(SYS_kcmp, getpid(), number(), 0, 0, 0); }
static long act_prlimit(void) { return CALL(SYS_prlimit64, number(), 7, NULL, map(16)); }
static long act_setpriority(void) { return CALL(SYS_setpriority, 0, number(), 10); }
static long act_scheduler(void) { return CALL(SYS_sched_setscheduler, 0, SCHED_FIFO, map(64)); }
static long act_affinity(void) { return CALL(SYS_sched_setaffinity, number(), 8, map(8)); }
static long act_ioprio(void) { return CALL(SYS_ioprio_set, 1, number(), 0); }

static long act_shmget(void) { return CALL(SYS_shmget, 0x1234, 4096, 01600); }
static long act_msgget(void) { return CALL(SYS_msgget, 0x1234, 01600); }
static long act_semget(void) { return CALL(SYS_semget, 0x1234, 1, 01600); }
static long act_mq_open(void) { return CALL(SYS_mq_open, "probe", O_CREAT | O_RDWR, 0600, NULL); }

static long act_mount(void) { return CALL(SYS_mount, "none", "/", "tmpfs", 0, NULL); }
static long act_umount(void) { return CALL(SYS_umount2, "/", 2 /* MNT_DETACH */); }
static long act_open_tree(void) { return CALL(SYS_open_tree, AT_FDCWD, "/", 1); }
static long act_open_tree_attr(void) { return CALL(467, AT_FDCWD, "/", 1, map(64), 32); }
static long act_fsopen(void) { return CALL(SYS_fsopen, "tmpfs", 0); }
static long act_fsconfig(void) { return CALL(SYS_fsconfig, 3, 0, NULL, NULL, 0); }
static long act_fspick(void) { return CALL(SYS_fspick, AT_FDCWD, "/", 0); }
static long act_mount_setattr(void) { return CALL(SYS_mount_setattr, AT_FDCWD, "/", 0, map(64), 32); }
static long act_pivot_root(void) { return CALL(SYS_pivot_root, ".", "."); }
static long act_chroot(void) { return CALL(SYS_chroot, "/"); }
static long act_setns(void) { return CALL(SYS_setns, 3, 0); }
static long act_unshare(void) { return CALL(SYS_unshare, CLONE_NEWUSER); }
static long act_setxattrat(void) { return CALL(463, layer(), "", AT_EMPTY_PATH, "user.x", map(32), 24); }
static long act_removexattrat(void) { return CALL(466, layer(), "", AT_EMPTY_PATH, "user.x"); }
static long act_quotactl_fd(void) { return CALL(443, 3, 0, 0, NULL); }

static long act_io_uring(void) { return CALL(SYS_io_uring_setup, 8, map(256)); }
static long act_aio(void) { return CALL(SYS_io_setup, 8, map(16)); }
static long act_bpf(void) { return CALL(SYS_bpf, 0, map(128), 72); }
static long act_perf(void) { return CALL(SYS_perf_event_open, map(128), 0, -1, -1, 0); }
static long act_userfaultfd(void) { return CALL(SYS_userfaultfd, 1); }
static long act_keyctl(void) { return CALL(SYS_keyctl, 0, -3, 0, 0, 0); }
static long act_add_key(void) { return CALL(SYS_add_key, "user", "probe", "x", 1, -3); }
static long act_memfd(void) { return CALL(SYS_memfd_create, "probe", 0); }
static long act_memfd_secret(void) { return CALL(447, 0); }
static long act_personality(void) { return CALL(SYS_personality, 0x0400000); }
static long act_modify_ldt(void) { return CALL(SYS_modify_ldt, 0, map(64), 64); }
static long act_seccomp(void) { return CALL(SYS_seccomp, 2, 0, map(8)); }
static long act_prctl_dumpable(void) { return CALL(SYS_prctl, PR_SET_DUMPABLE, 0); }
static long act_prctl_pdeathsig(void) { return CALL(SYS_prctl, PR_SET_PDEATHSIG, 0); }
static long act_prctl_name(void) { return CALL(SYS_prctl, PR_SET_NAME, "probe"); }
static long act_reboot(void) { return CALL(SYS_reboot, 0, 0, 0, NULL); }
static long act_syslog(void) { return CALL(SYS_syslog, 3, map(64), 64); }
static long act_init_module(void) { return CALL(SYS_finit_module, 3, "", 0); }
static long act_kexec(void) { return CALL(SYS_kexec_load, 0, 0, NULL, 0); }
static long act_swapon(void) { return CALL(SYS_swapon, "/", 0); }
static long act_clock(void) { return CALL(SYS_clock_settime, 0, map(16)); }
static long act_hostname(void) { return CALL(SYS_sethostname, "probe", 5); }
static long act_setuid(void) { return CALL(SYS_setresuid, 0, 0, 0); }
static long act_tiocsti(void) { return CALL(SYS_ioctl, channel, 0x5412, "x"); }
static long act_ioctl_unknown(void) { return CALL(SYS_ioctl, channel, 0x1234, 0); }
static long act_x32(void) { return CALL(0x40000000 | SYS_getpid); }

static long act_execve(void)
{
	char *none[] = { NULL };
	return CALL(SYS_execve, "/usr/bin/qemu-system-x86_64", none, none);
}
static long act_execveat(void)
{
	char *none[] = { NULL };
	return CALL(SYS_execveat, layer(), "", none, none, AT_EMPTY_PATH);
}
static long act_fork(void) { return CALL(SYS_fork); }
static long act_vfork(void) { return CALL(SYS_fork + 1); }
static long act_clone(void) { return CALL(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static long act_clone3(void)
{
	uint64_t arguments[11] = { 0, 0, 0, 0, SIGCHLD };
	return CALL(SYS_clone3, arguments, sizeof arguments);
}
static long act_mprotect_exec(void) { return CALL(SYS_mprotect, map(4096), 4096, PROT_READ | PROT_WRITE | PROT_EXEC); }
static long act_mmap_exec(void)
{
	return (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -errno : 0;
}
static long act_shared_memory(void)
{
	return mmap(NULL, 1L << 36, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -errno : 0;
}
/* How many GiB it can take. */
static long act_memory(void)
{
	long taken = 0;
	while (taken < 64 && map(1UL << 30) != MAP_FAILED)
		taken++;
	return taken;
}
static int sleeper(void *unused)
{
	(void)unused;
	for (;;)
		poll(NULL, 0, 1000);
	return 0;
}
/* How many threads it can have. */
static long act_threads(void)
{
	long made = 0;
	for (; made < 3000; made++)
		if (clone(sleeper, (char *)map(8192) + 8192,
			  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, NULL) < 0)
			break;
	return made;
}
/* How many descriptors it can have. */
static long act_descriptors(void)
{
	long made = 0;
	while (made < 100000 && dup(channel) >= 0)
		made++;
	return made;
}
static long act_processes(void)
{
	/* What it sees of others. */
	return CALL(SYS_openat, AT_FDCWD, "/proc/1/status", O_RDONLY, 0);
}
static long act_ids(void) { return getuid() == geteuid() && getgid() == getegid() ? (long)getuid() : -EINVAL; }
static long act_lent_again(void) { return CALL(SYS_openat, AT_FDCWD, "/guest/kernel", O_RDONLY, 0); }
static long act_kernel_write(void) { return CALL(SYS_pwrite64, (int)CALL(SYS_openat, AT_FDCWD, "/guest/kernel", O_RDWR, 0), "x", 1, 0); }

#define ACT(name) { #name, act_##name }
static const struct { const char *name; long (*act)(void); } acts[] = {
	ACT(nothing), ACT(given), ACT(reopen), ACT(write_layer), ACT(fchmod), ACT(fchown), ACT(fsetxattr), ACT(fremovexattr),
	ACT(ftruncate), ACT(fallocate), ACT(punch), ACT(map_layer), ACT(utimens), ACT(futimens_flags), ACT(lease),
	ACT(seals), ACT(notify), ACT(link), ACT(handle), ACT(open_by_handle), ACT(open), ACT(open_old), ACT(openat2),
	ACT(open_write), ACT(create), ACT(stat), ACT(stat_empty_path), ACT(statx), ACT(access), ACT(readlink),
	ACT(unlink), ACT(rename), ACT(mkdir), ACT(mknod), ACT(truncate), ACT(chmod), ACT(inotify), ACT(fanotify),
	ACT(socket_inet), ACT(socket_unix), ACT(socket_netlink), ACT(socket_packet), ACT(socket_alg), ACT(socketpair),
	ACT(sendmsg_path), ACT(sendmsg_abstract), ACT(sendto), ACT(connect), ACT(accept), ACT(kill), ACT(tkill),
	ACT(tgkill), ACT(tgkill_own), ACT(sigqueue), ACT(pidfd), ACT(pidfd_getfd), ACT(setown), ACT(ptrace),
	ACT(vm_read), ACT(vm_write), ACT(process_madvise), ACT(kcmp), ACT(prlimit), ACT(setpriority), ACT(scheduler),
	ACT(affinity), ACT(ioprio), ACT(shmget), ACT(msgget), ACT(semget), ACT(mq_open), ACT(mount), ACT(umount),
	ACT(open_tree), ACT(open_tree_attr), ACT(fsopen), ACT(fsconfig), ACT(fspick), ACT(mount_setattr),
	ACT(pivot_root), ACT(chroot), ACT(setns), ACT(unshare), ACT(setxattrat), ACT(removexattrat), ACT(quotactl_fd),
	ACT(io_uring), ACT(aio), ACT(bpf), ACT(perf), ACT(userfaultfd), ACT(keyctl), ACT(add_key), ACT(memfd),
	ACT(memfd_secret), ACT(personality), ACT(modify_ldt), ACT(seccomp), ACT(prctl_dumpable), ACT(prctl_pdeathsig),
	ACT(prctl_name), ACT(reboot), ACT(syslog), ACT(init_module), ACT(kexec), ACT(swapon), ACT(clock), ACT(hostname),
	ACT(setuid), ACT(tiocsti), ACT(ioctl_unknown), ACT(x32), ACT(execve), ACT(execveat), ACT(fork), ACT(vfork),
	ACT(clone), ACT(clone3), ACT(mprotect_exec), ACT(mmap_exec), ACT(shared_memory), ACT(memory), ACT(threads),
	ACT(descriptors), ACT(processes), ACT(ids), ACT(lent_again), ACT(kernel_write), ACT(tap_offload), ACT(tap_name),
	ACT(tap_new), ACT(tap_queue), ACT(tap_persist), ACT(tap_owner), ACT(tap_filter), ACT(tap_link),
};

static long perform(const char *name)
{
	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
		if (!strcmp(acts[i].name, name))
			return acts[i].act();
	say("no such act: %s\n", name);
	_exit(8);
}

/* Reads a line of the control protocol. */
static void line(char *into, size_t size)
{
	size_t length = 0;
	while (length + 1 < size && read(monitor, into + length, 1) == 1)
		if (into[length++] == '\n')
			break;
	into[length] = 0;
}

/* The start's last word that begins with a name and "=", without them. */
static const char *word(char *text, const char *name)
{
	char *found = strstr(text, name);
	if (!found || found[strlen(name)] != '=')
		return "";
	found += strlen(name) + 1;
	found[strcspn(found, " ")] = 0;
	return found;
}

int main(int count, char **arguments)
{
	static char append[4096], copy[3][4096];
	for (int i = 1; i < count; i++) {
		if (!strcmp(arguments[i], "--version")) {
			puts("QEMU emulator version 10.9.9");
			return 0;
		}
		sscanf(arguments[i], "socket,id=monitor,fd=%d", &monitor);
		sscanf(arguments[i], "socket,id=channel,fd=%d", &channel);
		if (!strcmp(arguments[i], "-append") && i + 1 < count)
			snprintf(append, sizeof append, "%s", arguments[i + 1]);
	}
	fcntl(monitor, F_SETFL, 0);
	fcntl(channel, F_SETFL, 0);
	for (int i = 0; i < 3; i++)
		memcpy(copy[i], append, sizeof append);
	const char *act = word(copy[0], "act"), *when = word(copy[1], "when");
	target = word(copy[2], "target");

	if (!strcmp(when, "dies")) {
		fputs("vmm: no such machine\n", stderr);
		return 1;
	}
	if (!strcmp(when, "silent"))
		for (;;)
			poll(NULL, 0, 1000);
	if (!strcmp(when, "starting"))
		say("%ld\n", perform(act));
	static const char greeting[] = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 10}, "
				       "\"package\": \"\"}, \"capabilities\": []}}\r\n";
	if (write(monitor, greeting, sizeof greeting - 1) < 0)
		return 2;
	for (;;) {
		static char request[65536];
		line(request, sizeof request);
		if (!*request)
			return 3;
		char *id = strstr(request, "\"id\":");
		long answer = id ? strtol(id + 5, NULL, 10) : 0;
		dprintf(monitor, id ? "{\"return\": {}, \"id\": %ld}\r\n" : "{\"return\": {}}\r\n", answer);
		/* The machine runs when it has been told to. */
		if (strstr(request, "\"cont\"") && !strcmp(when, "running"))
			say("%ld\n", perform(act));
	}
}
