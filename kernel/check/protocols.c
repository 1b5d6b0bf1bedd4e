// Socket families, transports, IPsec, and what "ss" asks.
#include "netlink.h"
#include <netinet/in.h> // before the kernel's headers, which then step back
#include <net/if.h>
#include <arpa/inet.h>
#include <linux/audit.h>
#include <linux/can.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <linux/vm_sockets.h>
#include <linux/xfrm.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static void loopback_up(void) {
  struct message m = {0};
  struct ifinfomsg body = {.ifi_index = if_nametoindex("lo"), .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
  begin(&m, RTM_NEWLINK, NLM_F_ACK, &body, sizeof body), end(&m);
  check("loopback", ask(NETLINK_ROUTE, &m));
}

// TLS goes on a connection only: one to ourselves.
static bool has_tls(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  bool ok = bind(listener, (void *)&address, length) == 0 && listen(listener, 1) == 0 &&
            getsockname(listener, (void *)&address, &length) == 0 && connect(client, (void *)&address, length) == 0 &&
            setsockopt(client, IPPROTO_TCP, TCP_ULP, "tls", 4) == 0;
  int error = errno;
  close(listener), close(client);
  errno = error;
  return ok;
}

// One direction of an encrypted network, as docker's overlay networks have it.
static bool has_ipsec(void) {
  struct message m = {0};
  struct xfrm_usersa_info body = {.family = AF_INET, .mode = XFRM_MODE_TRANSPORT,
                                  .id = {.daddr.a4 = htonl(0x7f000002), .spi = htonl(256), .proto = IPPROTO_ESP},
                                  .saddr.a4 = htonl(0x7f000001),
                                  .lft = {XFRM_INF, XFRM_INF, XFRM_INF, XFRM_INF}};
  struct { struct xfrm_algo_aead head; char key[20]; } algorithm = {
      {.alg_name = "rfc4106(gcm(aes))", .alg_key_len = 160, .alg_icv_len = 64}, "0123456789abcdef"};
  begin(&m, XFRM_MSG_NEWSA, NLM_F_CREATE | NLM_F_ACK, &body, sizeof body);
  attribute(&m, XFRMA_ALG_AEAD, &algorithm, sizeof algorithm.head + sizeof algorithm.key);
  end(&m);
  return ask(NETLINK_XFRM, &m);
}

// Asks to be told of processes, makes one, and is told.
static bool tells_of_processes(void) {
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC};
  struct message m = {0};
  struct { struct cn_msg head; enum proc_cn_mcast_op op; } listen = {
      {.id = {CN_IDX_PROC, CN_VAL_PROC}, .len = sizeof(enum proc_cn_mcast_op)}, PROC_CN_MCAST_LISTEN};
  int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_CONNECTOR);
  begin(&m, NLMSG_DONE, 0, &listen, sizeof listen.head + sizeof listen.op), end(&m);
  char reply[256];
  bool ok = fd >= 0 && bind(fd, (void *)&address, sizeof address) == 0 && send(fd, m.data, m.length, 0) > 0 &&
            recv(fd, reply, sizeof reply, 0) > 0;
  int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return ok;
}

static void congestion(const char *name) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  check(name, setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name)) == 0);
  close(fd);
}

void protocols(void) {
  loopback_up();
  check("interface eth0", if_nametoindex("eth0"));
  opens("IPv4", socket(AF_INET, SOCK_STREAM, 0));
  opens("IPv6", socket(AF_INET6, SOCK_STREAM, 0));
  opens("packet socket", socket(AF_PACKET, SOCK_RAW, 0));
  opens("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  opens("multipath TCP", socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP));
  opens("CAN", socket(AF_CAN, SOCK_RAW, CAN_RAW));
  opens("XDP socket", socket(44 /* AF_XDP */, SOCK_RAW, 0));
  check("TLS", has_tls());
  check("IPsec, ESP with AES-GCM", has_ipsec());
  check("process events", tells_of_processes());
  congestion("bbr");
  struct message tcp = {0}, local = {0}, audit = {0};
  struct inet_diag_req_v2 tcp_request = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0};
  struct unix_diag_req unix_request = {.sdiag_family = AF_UNIX, .udiag_states = ~0};
  begin(&tcp, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &tcp_request, sizeof tcp_request), end(&tcp);
  begin(&local, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &unix_request, sizeof unix_request), end(&local);
  begin(&audit, AUDIT_GET, NLM_F_ACK, "", 0), end(&audit);
  check("tcp diag", ask(NETLINK_SOCK_DIAG, &tcp));
  check("unix diag", ask(NETLINK_SOCK_DIAG, &local));
  check("audit", ask(NETLINK_AUDIT, &audit));
}

void protocols_full(void) {
  opens("SCTP", socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP));
  check("L2TP", has_family("l2tp"));
  check("Open vSwitch", has_family("ovs_datapath"));
}
