// The VM's own devices, and VMs inside it.
#include "check.h"
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

void devices(void) {
  // The channel is found by its name: the number depends on the other devices.
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
  char noise[8];
  int random = open("/dev/hwrng", O_RDONLY);
  check("virtio-rng", random >= 0 && read(random, noise, sizeof noise) > 0);
  close(random);
  int log = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
  check("kernel log", log >= 0 && write(log, "hello\n", 6) == 6 && read(log, path, sizeof path) > 0);
  close(log);
  check("page reporting", access("/sys/module/page_reporting", F_OK) == 0);
  int kvm = open("/dev/kvm", O_RDWR);
  check("kvm", kvm >= 0 && ioctl(kvm, KVM_GET_API_VERSION, 0) == 12);
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  check("a VM in the VM", vm >= 0 && ioctl(vm, KVM_CREATE_VCPU, 0) >= 0);
}
