// Control groups, version 2, with their BPF programs; of version 1 what only it has.
#include "check.h"
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

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

void control_groups(void) {
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
  // Controllers without a version 2: beside it, as systemd's hybrid layout has them.
  mkdir("/cg1", 0755);
  check("net_cls", mount("none", "/cg1", "cgroup", 0, "net_cls") == 0 && spew("/cg1/net_cls.classid", "0x100001"));
  mkdir("/cg2", 0755);
  check("net_prio", mount("none", "/cg2", "cgroup", 0, "net_prio") == 0 && strstr(slurp("/cg2/net_prio.ifpriomap"), "lo 0"));
}
