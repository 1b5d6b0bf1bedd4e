// Netlink messages: construction, one question and its answer.
#include "netlink.h"
#include <linux/genetlink.h>
#include <sys/socket.h>
#include <unistd.h>

static void append(struct message *m, const void *data, size_t length) {
  char *at = m->data + m->length;
  memcpy(at, data, length);
  memset(at + length, 0, NLA_ALIGN(length) - length);
  m->length += NLA_ALIGN(length);
}

void begin(struct message *m, int type, int flags, const void *body, size_t length) {
  struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = 1};
  m->header = m->length;
  append(m, &header, sizeof header);
  append(m, body, length);
}

void end(struct message *m) {
  ((struct nlmsghdr *)(m->data + m->header))->nlmsg_len = m->length - m->header;
}

void attribute(struct message *m, int type, const void *value, size_t length) {
  struct nlattr header = {.nla_type = type, .nla_len = NLA_HDRLEN + length};
  append(m, &header, sizeof header);
  append(m, value, length);
}

void text(struct message *m, int type, const char *value) {
  attribute(m, type, value, strlen(value) + 1);
}

size_t nest(struct message *m, int type) {
  size_t at = m->length;
  attribute(m, type | NLA_F_NESTED, "", 0);
  return at;
}

void unnest(struct message *m, size_t at) {
  ((struct nlattr *)(m->data + at))->nla_len = m->length - at;
}

bool ask(int protocol, struct message *m) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) return false;
  static char reply[16384];
  errno = 0;
  bool ok = send(fd, m->data, m->length, 0) >= 0 && recv(fd, reply, sizeof reply, 0) > 0;
  struct nlmsghdr *header = (struct nlmsghdr *)reply;
  if (ok && header->nlmsg_type == NLMSG_ERROR) {
    errno = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
    ok = errno == 0;
  }
  int error = errno;
  close(fd);
  errno = error;
  return ok;
}

bool has_family(const char *name) {
  struct message m = {0};
  struct genlmsghdr body = {.cmd = CTRL_CMD_GETFAMILY, .version = 1};
  begin(&m, GENL_ID_CTRL, 0, &body, sizeof body);
  text(&m, CTRL_ATTR_FAMILY_NAME, name);
  end(&m);
  return ask(NETLINK_GENERIC, &m);
}
