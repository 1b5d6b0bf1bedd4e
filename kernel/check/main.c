// PID 1 of check.sh: asks the running kernel for everything that containers need from it, prints one line per
// check that fails, and "checks: N, failed: M". With the word "full": for what the larger flavour has besides.
#include "check.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int checks, failed;

bool check(const char *what, bool ok) {
  checks++;
  if (!ok) {
    failed++;
    printf("FAIL %s (%s)\n", what, strerror(errno));
  }
  return ok;
}

void opens(const char *what, int fd) {
  if (check(what, fd >= 0)) close(fd);
}

bool mounted(const char *type, const char *source, const char *target, const char *options) {
  mkdir(target, 0755);
  return check(type, mount(source, target, type, 0, options) == 0);
}

char *slurp(const char *path) {
  static char text[65536];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  text[n < 0 ? 0 : n] = 0;
  if (fd >= 0) close(fd);
  return text;
}

bool spew(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return ok;
}

bool has_word(const char *text, const char *word) {
  size_t n = strlen(word);
  for (const char *at = text; (at = strstr(at, word)); at += n)
    if ((at == text || strchr(" \t\n", at[-1])) && (!at[n] || strchr(" \t\n", at[n]))) return true;
  errno = ENOENT;
  return false;
}

bool in_child(bool (*body)(const void *), const void *argument) {
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

int main(int count, char **words) {
  bool full = count > 1 && !strcmp(words[1], "full");
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/sys", 0755);
  mount("none", "/dev", "devtmpfs", 0, "");
  int console = open("/dev/console", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(console, fd);
  setsid();
  printf("PID 1 after %ld ms\n", now.tv_sec * 1000 + now.tv_nsec / 1000000);
  mounted("proc", "none", "/proc", "");
  mounted("sysfs", "none", "/sys", "");
  file_systems();
  block_devices();
  namespaces();
  control_groups();
  links();
  protocols();
  netfilter();
  traffic();
  cryptography();
  system_calls();
  tracing();
  devices();
  if (full) {
    file_systems_full();
    links_full();
    protocols_full();
    tracing_full();
    check("AppArmor", strstr(slurp("/sys/kernel/security/lsm"), "apparmor"));
  }
  printf("checks: %d, failed: %d\n", checks, failed);
  fflush(stdout);
  reboot(RB_AUTOBOOT);
}
