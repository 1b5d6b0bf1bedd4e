// PID 1 of check.sh: asks the running kernel for everything that containers
// need from it, prints one line per check that fails, and "checks: N, failed: M".
#define _GNU_SOURCE
#include <netinet/in.h> // before the kernel's headers, which then step back
#include <netinet/tcp.h>
#include <net/if.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <linux/inet_diag.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <linux/loop.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <linux/userfaultfd.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int checks, failed;

static bool check(const char *what, bool ok) {
  checks++;
  if (!ok) {
    failed++;
    printf("FAIL %s (%s)\n", what, strerror(errno));
  }
  return ok;
}

// The content of a (small) file, or "".
static char *slurp(const char *path) {
  static char text[16384];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  text[n < 0 ? 0 : n] = 0;
  if (fd >= 0) close(fd);
  return text;
}

static bool spew(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return ok;
}

static bool has_word(const char *text, const char *word) {
  size_t n = strlen(word);
  for (const char *at = text; (at = strstr(at, word)); at += n)
    if ((at == text || at[-1] == ' ' || at[-1] == '\t' || at[-1] == '\n') &&
        (!at[n] || strchr(" \t\n", at[n])))
      return true;
  errno = ENOENT;
  return false;
}

static bool mounted(const char *type, const char *source, const char *target, const char *options) {
  mkdir(target, 0755);
  return check(type, mount(source, target, type, 0, options) == 0);
}

// A descriptor that only has to come into being.
static void opens(const char *what, int fd) {
  if (check(what, fd >= 0)) close(fd);
}

// Runs `body` in a child, so that what it does to itself does not last.
static bool in_child(bool (*body)(const void *), const void *argument) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(10);
    _exit(body(argument) ? 0 : errno ? errno : 255);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool unshares(const void *flag) { return unshare(*(const int *)flag) == 0; }

static void namespaces(void) {
  static const struct {
    const char *name;
    int flag;
  } all[] = {{"mount", CLONE_NEWNS}, {"uts", CLONE_NEWUTS}, {"ipc", CLONE_NEWIPC},
             {"user", CLONE_NEWUSER}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET},
             {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    char what[64];
    snprintf(what, sizeof what, "namespace %s", all[i].name);
    check(what, in_child(unshares, &all[i].flag));
  }
}

static int bpf(int command, union bpf_attr *attr) {
  return syscall(SYS_bpf, command, attr, sizeof *attr);
}

static void device_rules(const char *group) {
  struct bpf_insn allow[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
                             {.code = BPF_JMP | BPF_EXIT}};
  union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (uintptr_t)allow,
                         .insn_cnt = 2, .license = (uintptr_t) "GPL"};
  int program = bpf(BPF_PROG_LOAD, &load);
  if (!check("bpf program for devices", program >= 0)) return;
  int directory = open(group, O_RDONLY | O_DIRECTORY);
  union bpf_attr attach = {.target_fd = directory, .attach_bpf_fd = program,
                           .attach_type = BPF_CGROUP_DEVICE};
  check("bpf program attached to a cgroup", bpf(BPF_PROG_ATTACH, &attach) == 0);
  close(directory);
  close(program);
}

static void control_groups(void) {
  static const char *const wanted[] = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "misc"};
  mounted("cgroup2", "none", "/cg", "nsdelegate,memory_recursiveprot");
  char present[256];
  snprintf(present, sizeof present, "%s", slurp("/cg/cgroup.controllers"));
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    char what[64], enable[64];
    snprintf(what, sizeof what, "controller %s", wanted[i]);
    snprintf(enable, sizeof enable, "+%s", wanted[i]);
    check(what, has_word(present, wanted[i]) && spew("/cg/cgroup.subtree_control", enable));
  }
  mkdir("/cg/box", 0755);
  static const struct {
    const char *file, *value;
  } knobs[] = {{"cpu.max", "50000 100000"}, {"cpu.weight", "50"}, {"cpuset.cpus", "0"},
               {"memory.max", "64M"}, {"memory.high", "60M"}, {"memory.swap.max", "0"},
               {"memory.reclaim", "4K"}, {"pids.max", "10"}, {"hugetlb.2MB.max", "0"},
               {"io.max", "254:0 rbps=1048576"}, {"io.weight", "default 50"},
               {"cpu.pressure", "some 150000 1000000"}, {"cgroup.freeze", "1"},
               {"cgroup.freeze", "0"}, {"cgroup.kill", "1"}};
  for (size_t i = 0; i < sizeof knobs / sizeof *knobs; i++) {
    char path[96];
    snprintf(path, sizeof path, "/cg/box/%s", knobs[i].file);
    // memory.reclaim says EAGAIN where there is nothing to reclaim.
    check(path, spew(path, knobs[i].value) || (errno == EAGAIN && strstr(path, "reclaim")));
  }
  check("cpu.stat counts", strstr(slurp("/cg/box/cpu.stat"), "nr_throttled"));
  check("pressure", strstr(slurp("/proc/pressure/memory"), "full"));
  device_rules("/cg/box");
  rmdir("/cg/box");
}

// One or more netlink messages under construction.
struct message {
  char data[4096];
  size_t length, header;
};

static void *append(struct message *m, const void *data, size_t length) {
  void *at = m->data + m->length;
  memcpy(at, data, length);
  memset((char *)at + length, 0, NLA_ALIGN(length) - length);
  m->length += NLA_ALIGN(length);
  return at;
}

static void begin(struct message *m, int type, int flags, const void *body, size_t length) {
  struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = 1};
  m->header = m->length;
  append(m, &header, sizeof header);
  append(m, body, length);
}

static void end(struct message *m) {
  ((struct nlmsghdr *)(m->data + m->header))->nlmsg_len = m->length - m->header;
}

static void attribute(struct message *m, int type, const void *value, size_t length) {
  struct nlattr header = {.nla_type = type, .nla_len = NLA_HDRLEN + length};
  append(m, &header, sizeof header);
  append(m, value, length);
}

static void text(struct message *m, int type, const char *value) {
  attribute(m, type, value, strlen(value) + 1);
}

static size_t nest(struct message *m, int type) {
  size_t at = m->length;
  attribute(m, type | NLA_F_NESTED, "", 0);
  return at;
}

static void unnest(struct message *m, size_t at) {
  ((struct nlattr *)(m->data + at))->nla_len = m->length - at;
}

// Sends and waits for the first answer; an error answer becomes errno.
static bool ask(int protocol, struct message *m) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) return false;
  static char reply[16384];
  errno = 0;
  bool ok = send(fd, m->data, m->length, 0) >= 0 && recv(fd, reply, sizeof reply, 0) > 0;
  struct nlmsghdr *header = (struct nlmsghdr *)reply;
  if (ok && header->nlmsg_type == NLMSG_ERROR) {
    errno = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
    ok = errno == 0;
  }
  int error = errno;
  close(fd);
  errno = error;
  return ok;
}

static void expression(struct message *rule, const char *name) {
  size_t element = nest(rule, NFTA_LIST_ELEM);
  text(rule, NFTA_EXPR_NAME, name);
  size_t data = nest(rule, NFTA_EXPR_DATA);
  if (!strcmp(name, "ct")) {
    uint32_t key = htonl(NFT_CT_STATE), reg = htonl(NFT_REG_1);
    attribute(rule, NFTA_CT_KEY, &key, 4);
    attribute(rule, NFTA_CT_DREG, &reg, 4);
  } else if (!strcmp(name, "reject")) {
    uint32_t type = htonl(NFT_REJECT_ICMPX_UNREACH);
    uint8_t code = NFT_REJECT_ICMPX_PORT_UNREACH;
    attribute(rule, NFTA_REJECT_TYPE, &type, 4);
    attribute(rule, NFTA_REJECT_ICMP_CODE, &code, 1);
  }
  unnest(rule, data);
  unnest(rule, element);
}

// A table with a chain of the given type and one rule of one expression.
static void nftables(const char *what, int family, const char *type, int hook, const char *statement) {
  struct message m = {0};
  struct nfgenmsg batch = {.res_id = htons(NFNL_SUBSYS_NFTABLES)}, body = {.nfgen_family = family};
  uint32_t hook_number = htonl(hook), priority = htonl(0);
  begin(&m, NFNL_MSG_BATCH_BEGIN, 0, &batch, sizeof batch), end(&m);
  begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE, &body, sizeof body);
  text(&m, NFTA_TABLE_NAME, what), end(&m);
  begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NLM_F_CREATE, &body, sizeof body);
  text(&m, NFTA_CHAIN_TABLE, what);
  text(&m, NFTA_CHAIN_NAME, "chain");
  text(&m, NFTA_CHAIN_TYPE, type);
  size_t at = nest(&m, NFTA_CHAIN_HOOK);
  attribute(&m, NFTA_HOOK_HOOKNUM, &hook_number, 4);
  attribute(&m, NFTA_HOOK_PRIORITY, &priority, 4);
  unnest(&m, at), end(&m);
  begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_ACK, &body, sizeof body);
  text(&m, NFTA_RULE_TABLE, what);
  text(&m, NFTA_RULE_CHAIN, "chain");
  at = nest(&m, NFTA_RULE_EXPRESSIONS);
  expression(&m, statement);
  unnest(&m, at), end(&m);
  begin(&m, NFNL_MSG_BATCH_END, 0, &batch, sizeof batch), end(&m);
  check(what, ask(NETLINK_NETFILTER, &m));
}

static void link_of_kind(const char *kind) {
  struct message m = {0};
  struct ifinfomsg body = {0};
  char what[64];
  uint32_t parent = if_nametoindex(strcmp(kind, "ipvlan") ? "dummy9" : "eth0"), id = 7;
  snprintf(what, sizeof what, "link %s", kind);
  begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &body, sizeof body);
  char name[IFNAMSIZ];
  snprintf(name, sizeof name, "%.12s9", kind);
  text(&m, IFLA_IFNAME, name);
  if (!strcmp(kind, "macvlan") || !strcmp(kind, "ipvlan") || !strcmp(kind, "vlan"))
    attribute(&m, IFLA_LINK, &parent, 4);
  size_t info = nest(&m, IFLA_LINKINFO);
  text(&m, IFLA_INFO_KIND, kind);
  if (!strcmp(kind, "vxlan") || !strcmp(kind, "vlan")) {
    size_t data = nest(&m, IFLA_INFO_DATA);
    attribute(&m, 1, &id, *kind == 'v' && kind[1] == 'l' ? 2 : 4); // IFLA_{VXLAN,VLAN}_ID
    unnest(&m, data);
  }
  unnest(&m, info), end(&m);
  check(what, ask(NETLINK_ROUTE, &m));
}

static void network(void) {
  static const char *const kinds[] = {"dummy", "veth", "bridge", "macvlan", "ipvlan", "vlan", "vxlan", "wireguard"};
  check("interface eth0", if_nametoindex("eth0"));
  opens("IPv4", socket(AF_INET, SOCK_STREAM, 0));
  opens("IPv6", socket(AF_INET6, SOCK_STREAM, 0));
  opens("packet socket", socket(AF_PACKET, SOCK_RAW, 0));
  opens("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) link_of_kind(kinds[i]);
  int tun = open("/dev/net/tun", O_RDWR);
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  check("tap", tun >= 0 && ioctl(tun, TUNSETIFF, &request) == 0);
  close(tun);
  nftables("inet masquerade", NFPROTO_INET, "nat", NF_INET_POST_ROUTING, "masq");
  nftables("inet redirect", NFPROTO_INET, "nat", NF_INET_PRE_ROUTING, "redir");
  nftables("ip conntrack", NFPROTO_IPV4, "filter", NF_INET_FORWARD, "ct");
  nftables("ip6 masquerade", NFPROTO_IPV6, "nat", NF_INET_POST_ROUTING, "masq");
  nftables("inet reject", NFPROTO_INET, "filter", NF_INET_LOCAL_IN, "reject");
  nftables("bridge counter", NFPROTO_BRIDGE, "filter", NF_INET_FORWARD, "counter");
  struct message tcp = {0}, local = {0};
  struct inet_diag_req_v2 tcp_request = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0};
  struct unix_diag_req unix_request = {.sdiag_family = AF_UNIX, .udiag_states = ~0};
  begin(&tcp, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &tcp_request, sizeof tcp_request), end(&tcp);
  begin(&local, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &unix_request, sizeof unix_request), end(&local);
  check("tcp diag", ask(NETLINK_SOCK_DIAG, &tcp));
  check("unix diag", ask(NETLINK_SOCK_DIAG, &local));
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  check("bbr", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3) == 0);
  close(fd);
  check("iptables-legacy", access("/proc/net/ip_tables_names", F_OK) == 0);
  check("br_netfilter", access("/proc/sys/net/bridge/bridge-nf-call-iptables", F_OK) == 0);
}

static bool filters_itself(const void *unused) {
  (void)unused;
  struct sock_filter { uint16_t code; uint8_t jt, jf; uint32_t k; } allow = {0x06, 0, 0, 0x7fff0000};
  struct { unsigned short length; struct sock_filter *filter; } program = {1, &allow};
  return syscall(SYS_seccomp, 1, 1 << 3, &program) >= 0; // with a listener
}

static void system_calls(void) {
  struct io_uring_params ring = {0};
  struct landlock_ruleset_attr rules = {.handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE};
  struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_TASK_CLOCK};
  struct mq_attr queue = {.mq_maxmsg = 1, .mq_msgsize = 16};
  struct uffdio_api api = {.api = UFFD_API};
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
  opens("memfd", memfd_create("x", MFD_ALLOW_SEALING));
  opens("memfd, huge pages", memfd_create("x", MFD_HUGETLB));
  opens("pidfd", syscall(SYS_pidfd_open, 1, 0));
  opens("message queue", mq_open("/q", O_CREAT | O_RDWR, 0600, &queue));
  int fault = syscall(SYS_userfaultfd, 0);
  check("userfaultfd", fault >= 0 && ioctl(fault, UFFDIO_API, &api) == 0);
  check("aio", syscall(SYS_io_setup, 1, &context) == 0);
  check("sysv ipc", shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) >= 0);
  check("keys", syscall(SYS_add_key, "user", "k", "v", 1, -2) >= 0);
  check("membarrier", syscall(SYS_membarrier, 0, 0, 0) > 0);
  check("kcmp", syscall(SYS_kcmp, 1, 1, 0, 0, 0) == 0);
  check("seccomp with a listener", in_child(filters_itself, NULL));
  check("resources of a child: /proc/1/io", strstr(slurp("/proc/1/io"), "write_bytes"));
  check("yama", *slurp("/proc/sys/kernel/yama/ptrace_scope"));
  check("config.gz", access("/proc/config.gz", R_OK) == 0);
  check("multi-generational LRU", strstr(slurp("/sys/kernel/mm/lru_gen/enabled"), "0x0007"));
  check("huge pages on request", strstr(slurp("/sys/kernel/mm/transparent_hugepage/enabled"), "[madvise]"));
}

static bool runs(const void *path) {
  execl(path, path, NULL);
  return false;
}

static void file_systems(void) {
  mounted("tmpfs", "none", "/tmp", "mode=1777");
  mounted("devpts", "none", "/dev/pts", "newinstance,ptmxmode=0666");
  mounted("mqueue", "none", "/dev/mqueue", "");
  mounted("binfmt_misc", "none", "/proc/sys/fs/binfmt_misc", "");
  mounted("hugetlbfs", "none", "/tmp/huge", "");
  mounted("bpf", "none", "/sys/fs/bpf", "");
  mounted("securityfs", "none", "/sys/kernel/security", "");
  check("virtiofs", has_word(slurp("/proc/filesystems"), "virtiofs"));
  opens("pseudo terminal", open("/dev/pts/ptmx", O_RDWR | O_NOCTTY));
  opens("fuse", open("/dev/fuse", O_RDWR));
  check("swap", access("/proc/swaps", R_OK) == 0);
  check("xattr on tmpfs", spew("/tmp/x", "") && setxattr("/tmp/x", "user.a", "b", 1, 0) == 0);
  // The image, its writable disk, and the root made of both.
  mkdir("/image", 0755);
  mkdir("/disk", 0755);
  mkdir("/root", 0755);
  if (!check("erofs", mount("/dev/vda", "/image", "erofs", MS_RDONLY, "") == 0)) return;
  char value[16];
  check("erofs xattr", getxattr("/image/file", "user.from", value, sizeof value) == 5);
  if (!check("ext4", mount("/dev/vdb", "/disk", "ext4", 0, "") == 0)) return;
  mkdir("/disk/upper", 0755);
  mkdir("/disk/work", 0755);
  check("overlay", mount("overlay", "/root", "overlay", 0, "lowerdir=/image,upperdir=/disk/upper,workdir=/disk/work") == 0);
  check("overlay shows the image", !strcmp(slurp("/root/file"), "image\n"));
  check("overlay writes", spew("/root/file", "disk!\n") && !strcmp(slurp("/disk/upper/file"), "disk!\n"));
  check("copy-up keeps xattrs", getxattr("/root/file", "user.from", value, sizeof value) == 5);
  check("security xattr", setxattr("/root/file", "security.capability", "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0) == 0);
  char acl[28] = "\2\0\0\0\1\0\6\0\377\377\377\377\4\0\4\0\377\377\377\377\40\0\4\0\377\377\377\377";
  check("acl", setxattr("/root/file", "system.posix_acl_access", acl, sizeof acl, 0) == 0);
  check("whiteout", unlink("/root/file") == 0 && access("/root/file", F_OK) != 0);
  int control = open("/dev/loop-control", O_RDWR);
  check("loop device on demand", control >= 0 && ioctl(control, LOOP_CTL_GET_FREE) >= 0);
}

// The channel is found by its name: the number depends on the other devices.
static void devices(void) {
  char path[300] = "";
  for (int port = 0; port < 8 && !*path; port++)
    for (int device = 0; device < 8; device++) {
      char name[64];
      snprintf(name, sizeof name, "/sys/class/virtio-ports/vport%dp%d/name", device, port);
      if (!strcmp(slurp(name), "check.channel\n"))
        snprintf(path, sizeof path, "/dev/vport%dp%d", device, port);
    }
  int fd = open(path, O_RDWR);
  check("named virtio-serial port", fd >= 0 && write(fd, "hello\n", 6) == 6);
  close(fd);
  // SCSI disks come when asked for, by channel, target and unit.
  check("scsi scan", spew("/sys/class/scsi_host/host0/scan", "0 0 3"));
  check("scsi disk", strstr(slurp("/sys/class/scsi_disk/0:0:0:3/device/block/sda/size"), "8192"));
  char noise[8];
  int random = open("/dev/hwrng", O_RDONLY);
  check("virtio-rng", random >= 0 && read(random, noise, sizeof noise) > 0);
  close(random);
  check("page reporting", access("/sys/module/page_reporting", F_OK) == 0);
  int kvm = open("/dev/kvm", O_RDWR);
  check("kvm", kvm >= 0 && ioctl(kvm, KVM_GET_API_VERSION, 0) == 12);
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  check("a VM in the VM", vm >= 0 && ioctl(vm, KVM_CREATE_VCPU, 0) >= 0);
  check("32-bit programs", in_child(runs, "/check32"));
}

int main(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/sys", 0755);
  mount("none", "/dev", "devtmpfs", 0, "");
  int console = open("/dev/console", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(console, fd);
  printf("PID 1 after %ld ms\n", now.tv_sec * 1000 + now.tv_nsec / 1000000);
  mounted("proc", "none", "/proc", "");
  mounted("sysfs", "none", "/sys", "");
  file_systems();
  namespaces();
  control_groups();
  network();
  system_calls();
  devices();
  printf("checks: %d, failed: %d\n", checks, failed);
  fflush(stdout);
  reboot(RB_AUTOBOOT);
}
