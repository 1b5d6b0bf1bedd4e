// Network interfaces of each kind that "ip link add type" is used with.
#include "netlink.h"
#include <net/if.h> // before the kernel's headers, which then step back
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/if_tunnel.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

// A kind, the interface below it, and the one attribute that it can't be without.
struct kind {
  const char *name, *below;
  int attribute;
  size_t length;
  uint32_t value;
};

static void make(const struct kind *kind) {
  struct message m = {0};
  struct ifinfomsg body = {0};
  char what[64], name[IFNAMSIZ];
  snprintf(what, sizeof what, "link %s", kind->name);
  snprintf(name, sizeof name, "%.12s9", kind->name);
  begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &body, sizeof body);
  text(&m, IFLA_IFNAME, name);
  if (kind->below) {
    uint32_t below = if_nametoindex(kind->below);
    attribute(&m, IFLA_LINK, &below, 4);
  }
  size_t info = nest(&m, IFLA_LINKINFO);
  text(&m, IFLA_INFO_KIND, kind->name);
  if (kind->attribute) {
    size_t data = nest(&m, IFLA_INFO_DATA);
    attribute(&m, kind->attribute, &kind->value, kind->length);
    unnest(&m, data);
  }
  unnest(&m, info);
  end(&m);
  check(what, ask(NETLINK_ROUTE, &m));
}

static void make_all(const struct kind *kinds, size_t count) {
  for (size_t i = 0; i < count; i++) make(&kinds[i]);
}

void links(void) {
  const uint32_t peer = htonl(0x7f000002);
  const struct kind kinds[] = {
      {.name = "dummy"},
      {.name = "veth"},
      {.name = "bridge"},
      {.name = "macvlan", .below = "dummy9"},
      {.name = "ipvlan", .below = "eth0"},
      {.name = "vlan", .below = "dummy9", .attribute = IFLA_VLAN_ID, .length = 2, .value = 7},
      {.name = "vxlan", .attribute = IFLA_VXLAN_ID, .length = 4, .value = 7},
      {.name = "wireguard"},
      {.name = "bond"},
      {.name = "vrf", .attribute = IFLA_VRF_TABLE, .length = 4, .value = 7},
      {.name = "ifb"},
      {.name = "geneve", .attribute = IFLA_GENEVE_COLLECT_METADATA},
      {.name = "gre", .attribute = IFLA_GRE_REMOTE, .length = 4, .value = peer},
      {.name = "gretap", .attribute = IFLA_GRE_REMOTE, .length = 4, .value = peer},
      {.name = "ipip", .attribute = IFLA_IPTUN_REMOTE, .length = 4, .value = peer},
      {.name = "sit", .attribute = IFLA_IPTUN_REMOTE, .length = 4, .value = peer},
      {.name = "vcan"},
      {.name = "macvtap", .below = "dummy9"},
      {.name = "xfrm", .attribute = IFLA_XFRM_IF_ID, .length = 4, .value = 7},
  };
  make_all(kinds, sizeof kinds / sizeof *kinds);
  int tun = open("/dev/net/tun", O_RDWR);
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  check("tap", tun >= 0 && ioctl(tun, TUNSETIFF, &request) == 0);
  close(tun);
  // A namespace begins with its loopback alone: nothing that a driver made unasked.
  check("no interface unasked", !if_nametoindex("dummy0") && !if_nametoindex("bond0") && !if_nametoindex("ifb0") &&
                                    !if_nametoindex("tunl0") && !if_nametoindex("gre0") && !if_nametoindex("sit0"));
}

void links_full(void) {
  static const struct kind kinds[] = {
      {.name = "ip6tnl"},
      {.name = "ip6gre"},
      {.name = "ipvtap", .below = "eth0"},
      {.name = "nlmon"},
      {.name = "team"},
      {.name = "vxcan"},
      {.name = "macsec", .below = "veth9"},
  };
  make_all(kinds, sizeof kinds / sizeof *kinds);
}
