// Packet filters: nftables, what iptables' matches and targets need, load balancing.
#include "netlink.h"
#include <netinet/in.h> // before the kernel's headers, which then step back
#include <arpa/inet.h>
#include <linux/ip_vs.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

static void expression(struct message *rule, const char *name) {
  size_t element = nest(rule, NFTA_LIST_ELEM);
  text(rule, NFTA_EXPR_NAME, name);
  size_t data = nest(rule, NFTA_EXPR_DATA);
  if (!strcmp(name, "ct")) {
    uint32_t key = htonl(NFT_CT_STATE), reg = htonl(NFT_REG_1);
    attribute(rule, NFTA_CT_KEY, &key, 4);
    attribute(rule, NFTA_CT_DREG, &reg, 4);
  } else if (!strcmp(name, "reject")) {
    uint32_t type = htonl(NFT_REJECT_ICMPX_UNREACH);
    uint8_t code = NFT_REJECT_ICMPX_PORT_UNREACH;
    attribute(rule, NFTA_REJECT_TYPE, &type, 4);
    attribute(rule, NFTA_REJECT_ICMP_CODE, &code, 1);
  }
  unnest(rule, data);
  unnest(rule, element);
}

// Begins a batch with a table in it.
static struct nfgenmsg batch(struct message *m, const char *table, int family) {
  struct nfgenmsg head = {.res_id = htons(NFNL_SUBSYS_NFTABLES)}, body = {.nfgen_family = family};
  begin(m, NFNL_MSG_BATCH_BEGIN, 0, &head, sizeof head), end(m);
  begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE, &body, sizeof body);
  text(m, NFTA_TABLE_NAME, table), end(m);
  return body;
}

static bool commit(struct message *m) {
  struct nfgenmsg head = {.res_id = htons(NFNL_SUBSYS_NFTABLES)};
  begin(m, NFNL_MSG_BATCH_END, 0, &head, sizeof head), end(m);
  return ask(NETLINK_NETFILTER, m);
}

// A table with a chain of the given type and one rule of one expression.
static void rule(const char *what, int family, const char *type, int hook, const char *statement) {
  struct message m = {0};
  struct nfgenmsg body = batch(&m, what, family);
  uint32_t hook_number = htonl(hook), priority = htonl(0);
  begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NLM_F_CREATE, &body, sizeof body);
  text(&m, NFTA_CHAIN_TABLE, what);
  text(&m, NFTA_CHAIN_NAME, "chain");
  text(&m, NFTA_CHAIN_TYPE, type);
  size_t at = nest(&m, NFTA_CHAIN_HOOK);
  attribute(&m, NFTA_HOOK_HOOKNUM, &hook_number, 4);
  attribute(&m, NFTA_HOOK_PRIORITY, &priority, 4);
  if (family == NFPROTO_NETDEV) text(&m, NFTA_HOOK_DEV, "lo");
  unnest(&m, at), end(&m);
  begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_ACK, &body, sizeof body);
  text(&m, NFTA_RULE_TABLE, what);
  text(&m, NFTA_RULE_CHAIN, "chain");
  at = nest(&m, NFTA_RULE_EXPRESSIONS);
  expression(&m, statement);
  unnest(&m, at), end(&m);
  check(what, commit(&m));
}

// A helper that finds a protocol's second connections.
static void helper(const char *protocol, uint8_t transport) {
  struct message m = {0};
  struct nfgenmsg body = batch(&m, protocol, NFPROTO_IPV4);
  uint32_t type = htonl(NFT_OBJECT_CT_HELPER);
  char what[64];
  snprintf(what, sizeof what, "conntrack helper %s", protocol);
  begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWOBJ, NLM_F_CREATE | NLM_F_ACK, &body, sizeof body);
  text(&m, NFTA_OBJ_TABLE, protocol);
  text(&m, NFTA_OBJ_NAME, "helper");
  attribute(&m, NFTA_OBJ_TYPE, &type, 4);
  size_t data = nest(&m, NFTA_OBJ_DATA);
  text(&m, NFTA_CT_HELPER_NAME, protocol);
  attribute(&m, NFTA_CT_HELPER_L4PROTO, &transport, 1);
  unnest(&m, data), end(&m);
  check(what, commit(&m));
}

// A service with a scheduler, as kube-proxy and docker's swarm mode make them.
static void balancing(void) {
  int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  static const char *const schedulers[] = {"rr", "wrr", "lc", "wlc", "sh"};
  for (size_t i = 0; i < sizeof schedulers / sizeof *schedulers; i++) {
    struct ip_vs_service_user service = {.protocol = i % 2 ? IPPROTO_UDP : IPPROTO_TCP, .addr = htonl(0x7f000001),
                                         .port = htons(80 + i), .netmask = 0xffffffff};
    char what[64];
    snprintf(what, sizeof what, "ipvs %s", schedulers[i]);
    strcpy(service.sched_name, schedulers[i]);
    check(what, setsockopt(fd, IPPROTO_IP, IP_VS_SO_SET_ADD, &service, sizeof service) == 0);
  }
  close(fd);
  check("ipvs with conntrack", spew("/proc/sys/net/ipv4/vs/conntrack", "1"));
}

static void extensions(const char *file, const char *const *names) {
  char found[4096], what[96];
  snprintf(found, sizeof found, "%s", slurp(file));
  for (; *names; names++) {
    snprintf(what, sizeof what, "%s %s", file, *names);
    check(what, has_word(found, *names));
  }
}

void netfilter(void) {
  static const char *const matches[] = {"addrtype", "cgroup", "comment", "connlimit", "conntrack", "hashlimit", "iprange",
                                        "ipvs", "limit", "multiport", "owner", "physdev", "policy", "recent", "rpfilter",
                                        "set", "state", "statistic", "string", "time", NULL};
  static const char *const targets[] = {"CHECKSUM", "CT", "DNAT", "LOG", "MARK", "MASQUERADE", "NFLOG", "NFQUEUE",
                                        "REDIRECT", "REJECT", "SNAT", "TCPMSS", "TPROXY", NULL};
  rule("inet masquerade", NFPROTO_INET, "nat", NF_INET_POST_ROUTING, "masq");
  rule("inet redirect", NFPROTO_INET, "nat", NF_INET_PRE_ROUTING, "redir");
  rule("ip conntrack", NFPROTO_IPV4, "filter", NF_INET_FORWARD, "ct");
  rule("ip6 masquerade", NFPROTO_IPV6, "nat", NF_INET_POST_ROUTING, "masq");
  rule("inet reject", NFPROTO_INET, "filter", NF_INET_LOCAL_IN, "reject");
  rule("bridge counter", NFPROTO_BRIDGE, "filter", NF_INET_FORWARD, "counter");
  rule("netdev ingress", NFPROTO_NETDEV, "filter", NF_NETDEV_INGRESS, "counter");
  helper("ftp", IPPROTO_TCP);
  helper("tftp", IPPROTO_UDP);
  check("iptables-legacy", access("/proc/net/ip_tables_names", F_OK) == 0);
  check("br_netfilter", access("/proc/sys/net/bridge/bridge-nf-call-iptables", F_OK) == 0);
  extensions("/proc/net/ip_tables_matches", matches);
  extensions("/proc/net/ip_tables_targets", targets);
  balancing();
}
