// Namespaces, by making one of each.
#include "check.h"
#include <sched.h>

static bool unshares(const void *flag) { return unshare(*(const int *)flag) == 0; }

void namespaces(void) {
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
