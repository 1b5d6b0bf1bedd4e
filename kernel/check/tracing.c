// What perf, bpftrace and debuggers look for.
#include "check.h"
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int perf(struct perf_event_attr *event) {
  event->size = sizeof *event;
  return syscall(SYS_perf_event_open, event, -1, 0, -1, 0);
}

void tracing(void) {
  unsigned long long address = 0;
  char type = 0;
  sscanf(slurp("/proc/kallsyms"), "%llx %c", &address, &type);
  check("kallsyms", address && type);
}

void tracing_full(void) {
  mounted("tracefs", "none", "/sys/kernel/tracing", "");
  mounted("debugfs", "none", "/sys/kernel/debug", "");
  check("function tracer", has_word(slurp("/sys/kernel/tracing/available_tracers"), "function"));
  check("tracepoint of a system call", *slurp("/sys/kernel/tracing/events/syscalls/sys_enter_openat/id"));
  int id = atoi(slurp("/sys/kernel/tracing/events/sched/sched_switch/id"));
  struct perf_event_attr event = {.type = PERF_TYPE_TRACEPOINT, .config = id};
  opens("tracepoint", id ? perf(&event) : -1);
  int kprobe = atoi(slurp("/sys/bus/event_source/devices/kprobe/type"));
  event = (struct perf_event_attr){.type = kprobe, .kprobe_func = (uintptr_t) "do_sys_openat2"};
  opens("kprobe", kprobe ? perf(&event) : -1);
  int uprobe = atoi(slurp("/sys/bus/event_source/devices/uprobe/type"));
  event = (struct perf_event_attr){.type = uprobe, .uprobe_path = (uintptr_t) "/init", .probe_offset = 0x1000};
  opens("uprobe", uprobe ? perf(&event) : -1);
}
