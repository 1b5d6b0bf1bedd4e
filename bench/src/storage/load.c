// What the storage benchmark does with a file system, each subject timed: the same program in a container and, as the first process, in a
// bare machine.
//
//   load DIRECTORY SUBJECT...         does them there
//   load bare SOURCE TYPE SUBJECT...  mounts SOURCE first, and switches the machine off at the end
//
// For each subject it prints "<subject> <milliseconds>".
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, BLOCKS = 256, PAGE = 4096, PAGES = 4096, DIRECTORIES = 100, FILES = 200, SMALL = 1024 };

static char *block;

static void fail(const char *what) {
  printf("failed: %s: %s\n", what, strerror(errno));
  fflush(stdout);
  sync();
  if (getpid() == 1) reboot(RB_AUTOBOOT);
  exit(1);
}

static void check(int done, const char *what) {
  if (!done) fail(what);
}

static int file(int flags) {
  int fd = open("big", flags | O_CREAT, 0644);
  check(fd >= 0, "open");
  return fd;
}

static void forget(int fd) {
  check(fsync(fd) == 0, "fsync");
  check(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0, "fadvise");
}

static void sequential(int writes) {
  int fd = file(O_RDWR);
  if (!writes) forget(fd);
  for (int n = 0; n < BLOCKS; n++) {
    block[n % BLOCK] ^= 1;
    ssize_t done = writes ? write(fd, block, BLOCK) : read(fd, block, BLOCK);
    check(done == BLOCK, "a block");
  }
  if (writes) check(fsync(fd) == 0, "fsync");
  close(fd);
}

static void at_random(int writes) {
  int fd = file(O_RDWR | O_DIRECT);
  uint64_t state = 1;
  for (int n = 0; n < PAGES; n++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    off_t place = (off_t)((state >> 33) % ((uint64_t)BLOCKS * BLOCK / PAGE)) * PAGE;
    ssize_t done = writes ? pwrite(fd, block, PAGE, place) : pread(fd, block, PAGE, place);
    check(done == PAGE, "a page");
  }
  if (writes) check(fsync(fd) == 0, "fsync");
  close(fd);
}

static void each_file(void (*act)(const char *)) {
  char name[64];
  for (int d = 0; d < DIRECTORIES; d++)
    for (int n = 0; n < FILES; n++) {
      snprintf(name, sizeof name, "small/%d/%d", d, n);
      act(name);
    }
}

static void create(const char *name) {
  int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
  check(fd >= 0 && write(fd, block, SMALL) == SMALL && close(fd) == 0, name);
}

static void look(const char *name) {
  struct stat status;
  check(stat(name, &status) == 0 && status.st_size == SMALL, name);
}

static void read_one(const char *name) {
  char bytes[SMALL];
  int fd = open(name, O_RDONLY);
  check(fd >= 0 && read(fd, bytes, SMALL) == SMALL && close(fd) == 0, name);
}

static void create_all(void) {
  char name[64];
  check(mkdir("small", 0755) == 0, "mkdir");
  for (int d = 0; d < DIRECTORIES; d++) {
    snprintf(name, sizeof name, "small/%d", d);
    check(mkdir(name, 0755) == 0, name);
  }
  each_file(create);
}

static void unlink_one(const char *name) { check(unlink(name) == 0, name); }

static void remove_all(void) {
  char name[64];
  each_file(unlink_one);
  for (int d = 0; d < DIRECTORIES; d++) {
    snprintf(name, sizeof name, "small/%d", d);
    check(rmdir(name) == 0, name);
  }
  check(rmdir("small") == 0 && (unlink("big") == 0 || errno == ENOENT), "remove");
}

static void subject(const char *name) {
  if (!strcmp(name, "write")) sequential(1);
  else if (!strcmp(name, "read")) sequential(0);
  else if (!strcmp(name, "random-write")) at_random(1);
  else if (!strcmp(name, "random-read")) at_random(0);
  else if (!strcmp(name, "create")) create_all();
  else if (!strcmp(name, "stat")) { each_file(look); each_file(look); }
  else if (!strcmp(name, "open")) each_file(read_one);
  else if (!strcmp(name, "remove")) remove_all();
  else { errno = EINVAL; fail(name); }
}

int main(int count, char **words) {
  int bare = count > 3 && !strcmp(words[1], "bare");
  if (bare) {
    // The console comes while this runs.
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, 0);
    for (int n = 0; n < 500 && freopen("/dev/console", "w", stdout) == 0; n++) usleep(10000);
    mkdir("/mnt", 0755);
    int mounted = -1;
    for (int n = 0; n < 500 && mounted != 0; n++) {
      mounted = mount(words[2], "/mnt", words[3], MS_NOATIME, 0);
      if (mounted != 0) usleep(10000);
    }
    check(mounted == 0, "mount");
  }
  check(count > 1 && chdir(bare ? "/mnt" : words[1]) == 0, "chdir");
  block = aligned_alloc(PAGE, BLOCK);
  memset(block, 0xa5, BLOCK);
  for (int n = bare ? 4 : 2; n < count; n++) {
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    subject(words[n]);
    clock_gettime(CLOCK_MONOTONIC, &after);
    printf("%s %.3f\n", words[n], (after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6);
    fflush(stdout);
  }
  if (bare) {
    sync();
    reboot(RB_AUTOBOOT);
  }
  return 0;
}
