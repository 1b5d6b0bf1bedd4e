// File systems: the container's own root, and those that programs mount.
#include "check.h"
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

// The image, its writable disk, and the root made of both.
static void root(void) {
  mkdir("/image", 0755), mkdir("/disk", 0755), mkdir("/root", 0755);
  if (!check("erofs", mount("/dev/vda", "/image", "erofs", MS_RDONLY, "") == 0)) return;
  char value[16];
  check("erofs xattr", getxattr("/image/file", "user.from", value, sizeof value) == 5);
  if (!check("ext4", mount("/dev/vdb", "/disk", "ext4", 0, "") == 0)) return;
  struct dqinfo quota;
  check("ext4 quota", quotactl(QCMD(Q_GETINFO, USRQUOTA), "/dev/vdb", 0, (void *)&quota) == 0);
  mkdir("/disk/upper", 0755), mkdir("/disk/work", 0755);
  check("overlay", mount("overlay", "/root", "overlay", 0, "lowerdir=/image,upperdir=/disk/upper,workdir=/disk/work") == 0);
  check("overlay shows the image", !strcmp(slurp("/root/file"), "image\n"));
  check("overlay writes", spew("/root/file", "disk!\n") && !strcmp(slurp("/disk/upper/file"), "disk!\n"));
  check("copy-up keeps xattrs", getxattr("/root/file", "user.from", value, sizeof value) == 5);
  check("security xattr", setxattr("/root/file", "security.capability", "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0) == 0);
  char acl[28] = "\2\0\0\0\1\0\6\0\377\377\377\377\4\0\4\0\377\377\377\377\40\0\4\0\377\377\377\377";
  check("acl", setxattr("/root/file", "system.posix_acl_access", acl, sizeof acl, 0) == 0);
  check("whiteout", unlink("/root/file") == 0 && access("/root/file", F_OK) != 0);
}

// An image that the host made, as SCSI unit `unit`, with a file of known content.
static void image(const char *type, int unit) {
  char disk[64], what[64];
  snprintf(what, sizeof what, "%s image", type);
  mkdir("/mnt", 0755);
  if (!check(what, scsi_disk(unit, disk, sizeof disk) && mount(disk, "/mnt", type, MS_RDONLY, "") == 0)) return;
  check(what, !strcmp(slurp("/mnt/file"), "image\n"));
  umount("/mnt");
}

static bool has_autofs(void) {
  int ends[2];
  char options[96];
  if (pipe(ends) != 0) return false;
  snprintf(options, sizeof options, "fd=%d,pgrp=%d,minproto=5,maxproto=5,direct", ends[1], getpgrp());
  mkdir("/auto", 0755);
  bool ok = mount("none", "/auto", "autofs", 0, options) == 0;
  umount2("/auto", MNT_DETACH);
  return ok;
}

static void registered(const char *const *types) {
  for (; *types; types++) {
    char what[64];
    snprintf(what, sizeof what, "file system %s", *types);
    check(what, has_word(slurp("/proc/filesystems"), *types));
  }
}

void file_systems(void) {
  static const char *const types[] = {"virtiofs", "fuseblk", "msdos", NULL};
  mounted("tmpfs", "none", "/tmp", "mode=1777");
  mounted("devpts", "none", "/dev/pts", "newinstance,ptmxmode=0666");
  mounted("mqueue", "none", "/dev/mqueue", "");
  mounted("binfmt_misc", "none", "/proc/sys/fs/binfmt_misc", "");
  mounted("hugetlbfs", "none", "/tmp/huge", "");
  mounted("bpf", "none", "/sys/fs/bpf", "");
  mounted("securityfs", "none", "/sys/kernel/security", "");
  opens("pseudo terminal", open("/dev/pts/ptmx", O_RDWR | O_NOCTTY));
  opens("fuse", open("/dev/fuse", O_RDWR));
  check("xattr on tmpfs", spew("/tmp/x", "") && setxattr("/tmp/x", "user.a", "b", 1, 0) == 0);
  root();
  image("squashfs", 4);
  image("vfat", 5);
  image("iso9660", 6);
  check("9p", mount("share", "/mnt", "9p", MS_RDONLY, "trans=virtio,version=9p2000.L") == 0 &&
                  !strcmp(slurp("/mnt/file"), "image\n") && umount("/mnt") == 0);
  check("autofs", has_autofs());
  registered(types);
}

void file_systems_full(void) {
  static const char *const types[] = {"nfs", "nfs4", "nfsd", "cifs", "udf", "exfat", NULL};
  image("xfs", 7);
  image("btrfs", 8);
  registered(types);
}
