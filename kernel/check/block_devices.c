// Disks behind disks: SCSI units, loop devices, swap, device mapper, network and compressed memory.
#include "check.h"
#include "netlink.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// SCSI disks come when asked for, by channel, target and unit; the kernel names them in the order in which it is ready.
bool scsi_disk(int unit, char *path, size_t size) {
  char address[32], directory[96];
  snprintf(address, sizeof address, "0 0 %d", unit);
  snprintf(directory, sizeof directory, "/sys/class/scsi_disk/0:0:0:%d/device/block", unit);
  if (!spew("/sys/class/scsi_host/host0/scan", address)) return false;
  for (int attempt = 0; attempt < 5000; attempt++) {
    DIR *entries = opendir(directory);
    struct dirent *entry = entries ? readdir(entries) : NULL;
    while (entry && *entry->d_name == '.') entry = readdir(entries);
    if (entry) snprintf(path, size, "/dev/%.32s", entry->d_name);
    if (entries) closedir(entries);
    // It is there before it can be opened.
    int disk = entry ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (disk >= 0) return close(disk), true;
    usleep(1000);
  }
  errno = ETIMEDOUT;
  return false;
}

// A loop device on `path`; its name in `device`.
static bool attach(const char *path, char *device, size_t size) {
  int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number = ioctl(control, LOOP_CTL_GET_FREE);
  close(control);
  snprintf(device, size, "/dev/loop%d", number);
  int loop = open(device, O_RDWR | O_CLOEXEC), file = open(path, O_RDWR | O_CLOEXEC);
  struct loop_config config = {.fd = file};
  bool ok = number >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) == 0;
  int error = errno;
  close(loop), close(file);
  errno = error;
  return ok;
}

// The signature that mkswap writes: version 1, the last page's number, the name at the end of the first page.
static bool make_swap(const char *path, unsigned pages) {
  static char page[4096];
  unsigned header[2] = {1, pages - 1};
  memcpy(page + 1024, header, sizeof header);
  memcpy(page + sizeof page - 10, "SWAPSPACE2", 10);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  bool ok = fd >= 0 && write(fd, page, sizeof page) == sizeof page;
  if (fd >= 0 && !strncmp(path, "/disk/", 6)) ok = ok && posix_fallocate(fd, 0, pages * 4096L) == 0;
  close(fd);
  return ok;
}

// A loop device whose node a program made itself.
static bool made_by_opening(void) {
  int fd = mknod("/tmp/loop77", S_IFBLK | 0600, makedev(7, 77)) == 0 ? open("/tmp/loop77", O_RDWR | O_CLOEXEC) : -1;
  if (fd >= 0) close(fd);
  return fd >= 0;
}

static void swap(void) {
  char device[64] = "";
  check("swap on a loop device", make_swap("/disk/swap", 64) && attach("/disk/swap", device, sizeof device) &&
                                     swapon(device, 0) == 0 && swapoff(device) == 0);
  int number = -1;
  sscanf(slurp("/sys/class/zram-control/hot_add"), "%d", &number);
  char size[64];
  snprintf(size, sizeof size, "/sys/block/zram%d/disksize", number);
  snprintf(device, sizeof device, "/dev/zram%d", number);
  check("swap on zram", number >= 0 && spew(size, "262144") && make_swap(device, 64) && swapon(device, 0) == 0 &&
                            swapoff(device) == 0);
}

static void mapper(const char *const *targets) {
  static union { struct dm_ioctl head; char space[16384]; } list;
  list.head = (struct dm_ioctl){.version = {4, 0, 0}, .data_size = sizeof list, .data_start = sizeof list.head};
  int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
  bool ok = fd >= 0 && ioctl(fd, DM_LIST_VERSIONS, &list) == 0;
  close(fd);
  if (!check("device mapper", ok)) return;
  for (; *targets; targets++) {
    char what[64];
    snprintf(what, sizeof what, "device mapper, %s", *targets);
    bool found = false;
    struct dm_target_versions *at = (void *)(list.space + list.head.data_start);
    for (;; at = (void *)((char *)at + at->next)) {
      found = found || !strcmp(at->name, *targets);
      if (!at->next) break;
    }
    errno = ENOENT;
    check(what, found);
  }
}

void block_devices(void) {
  static const char *const targets[] = {"linear", "crypt", "snapshot", "thin", "thin-pool", NULL};
  char disk[64];
  check("scsi disk", scsi_disk(3, disk, sizeof disk));
  int fd = open(disk, O_RDONLY | O_CLOEXEC);
  check("its size", lseek(fd, 0, SEEK_END) == 4 << 20);
  close(fd);
  check("loop device by its node", made_by_opening());
  swap();
  mapper(targets);
  check("network block device", has_family("nbd"));
}
