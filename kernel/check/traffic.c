// Traffic control: queueing disciplines, filters, actions.
#include "netlink.h"
#include <net/if.h> // before the kernel's headers, which then step back
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_gact.h>
#include <linux/tc_act/tc_mirred.h>

static bool change(int type, int flags, const char *kind, uint32_t parent, uint32_t handle, uint32_t info) {
  struct message m = {0};
  struct tcmsg body = {.tcm_ifindex = if_nametoindex("ifb9"), .tcm_parent = parent, .tcm_handle = handle, .tcm_info = info};
  begin(&m, type, flags | NLM_F_ACK, &body, sizeof body);
  text(&m, TCA_KIND, kind);
  if (type == RTM_NEWTFILTER) unnest(&m, nest(&m, TCA_OPTIONS));
  end(&m);
  return ask(NETLINK_ROUTE, &m);
}

// Puts a queueing discipline at the root of ifb9 and takes it away.
static void discipline(const char *kind) {
  char what[64];
  snprintf(what, sizeof what, "qdisc %s", kind);
  check(what, change(RTM_NEWQDISC, NLM_F_CREATE, kind, TC_H_ROOT, 0x10000, 0) &&
                  change(RTM_DELQDISC, 0, kind, TC_H_ROOT, 0x10000, 0));
}

static void action(const char *kind, int type, const void *parameters, size_t length) {
  struct message m = {0};
  struct tcamsg body = {0};
  char what[64];
  snprintf(what, sizeof what, "action %s", kind);
  begin(&m, RTM_NEWACTION, NLM_F_CREATE | NLM_F_ACK, &body, sizeof body);
  size_t table = nest(&m, TCA_ACT_TAB), first = nest(&m, 1);
  text(&m, TCA_ACT_KIND, kind);
  size_t options = nest(&m, TCA_ACT_OPTIONS);
  attribute(&m, type, parameters, length);
  unnest(&m, options);
  unnest(&m, first);
  unnest(&m, table);
  end(&m);
  check(what, ask(NETLINK_ROUTE, &m));
}

void traffic(void) {
  static const char *const disciplines[] = {"fq", "fq_codel", "sfq", "cake"};
  for (size_t i = 0; i < sizeof disciplines / sizeof *disciplines; i++) discipline(disciplines[i]);
  const uint32_t first_of_all = 1 << 16 | 0x0300; // the priority, and ETH_P_ALL as it goes over the wire
  check("qdisc ingress", change(RTM_NEWQDISC, NLM_F_CREATE, "ingress", TC_H_INGRESS, 0xffff0000, 0));
  check("filter cgroup", change(RTM_NEWTFILTER, NLM_F_CREATE, "cgroup", 0xffff0000, 1, first_of_all));
  struct tc_mirred mirror = {.action = TC_ACT_PIPE, .eaction = TCA_EGRESS_MIRROR, .ifindex = if_nametoindex("ifb9")};
  struct tc_police police = {.action = TC_POLICE_SHOT, .mtu = 1500};
  struct tc_gact drop = {.action = TC_ACT_SHOT};
  action("mirred", TCA_MIRRED_PARMS, &mirror, sizeof mirror);
  action("police", TCA_POLICE_TBF, &police, sizeof police);
  action("gact", TCA_GACT_PARMS, &drop, sizeof drop);
}
