// System calls that a kernel may be built without.
#include "check.h"
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

static bool filters_itself(const void *unused) {
  (void)unused;
  struct sock_filter { uint16_t code; uint8_t jt, jf; uint32_t k; } allow = {0x06, 0, 0, 0x7fff0000};
  struct { unsigned short length; struct sock_filter *filter; } program = {1, &allow};
  return syscall(SYS_seccomp, 1, 1 << 3, &program) >= 0; // with a listener
}

static bool runs(const void *path) {
  execl(path, path, NULL);
  return false;
}

static void memory(void) {
  static char page[8192] __attribute__((aligned(4096)));
  unsigned map_size = 0;
  opens("memfd", memfd_create("x", MFD_ALLOW_SEALING));
  opens("memfd, huge pages", memfd_create("x", MFD_HUGETLB));
  int fault = syscall(SYS_userfaultfd, 0);
  struct uffdio_api api = {.api = UFFD_API};
  check("userfaultfd", fault >= 0 && ioctl(fault, UFFDIO_API, &api) == 0);
  check("equal pages merged on request", madvise(page, 4096, MADV_MERGEABLE) == 0);
  check("names of anonymous memory", prctl(PR_SET_VMA, 0, page, 4096, "name") == 0);
  check("checkpoint and restore", prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &map_size, 0, 0) == 0 && map_size > 0);
  check("multi-generational LRU", strstr(slurp("/sys/kernel/mm/lru_gen/enabled"), "0x0007"));
  check("huge pages on request", strstr(slurp("/sys/kernel/mm/transparent_hugepage/enabled"), "[madvise]"));
}

void system_calls(void) {
  struct io_uring_params ring = {0};
  struct landlock_ruleset_attr rules = {.handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE};
  struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_TASK_CLOCK};
  struct mq_attr queue = {.mq_maxmsg = 1, .mq_msgsize = 16};
  sigset_t signals;
  unsigned long context = 0;
  sigemptyset(&signals);
  opens("io_uring", syscall(SYS_io_uring_setup, 4, &ring));
  opens("landlock", syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0));
  opens("perf events", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
  opens("fanotify", fanotify_init(FAN_CLASS_CONTENT, O_RDONLY));
  opens("inotify", inotify_init1(0));
  opens("epoll", epoll_create1(0));
  opens("eventfd", eventfd(0, 0));
  opens("timerfd", timerfd_create(CLOCK_MONOTONIC, 0));
  opens("signalfd", signalfd(-1, &signals, 0));
  opens("pidfd", syscall(SYS_pidfd_open, 1, 0));
  opens("message queue", mq_open("/q", O_CREAT | O_RDWR, 0600, &queue));
  memory();
  check("aio", syscall(SYS_io_setup, 1, &context) == 0);
  check("sysv ipc", shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) >= 0);
  check("keys", syscall(SYS_add_key, "user", "k", "v", 1, -2) >= 0);
  check("membarrier", syscall(SYS_membarrier, 0, 0, 0) > 0);
  check("kcmp", syscall(SYS_kcmp, 1, 1, 0, 0, 0) == 0);
  check("seccomp with a listener", in_child(filters_itself, NULL));
  check("process accounting", spew("/tmp/acct", "") && acct("/tmp/acct") == 0 && acct(NULL) == 0);
  check("resources of a child: /proc/1/io", strstr(slurp("/proc/1/io"), "write_bytes"));
  check("yama", *slurp("/proc/sys/kernel/yama/ptrace_scope"));
  check("config.gz", access("/proc/config.gz", R_OK) == 0);
  check("32-bit programs", in_child(runs, "/check32"));
}
