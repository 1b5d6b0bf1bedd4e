// Netlink messages, built by hand: no library is at hand in an initramfs.
#pragma once
#include "check.h"
#include <linux/netlink.h>
#include <stdint.h>

// One or more messages under construction.
struct message {
  char data[4096];
  size_t length, header;
};

void begin(struct message *m, int type, int flags, const void *body, size_t length);
void end(struct message *m);
void attribute(struct message *m, int type, const void *value, size_t length);
void text(struct message *m, int type, const char *value);
size_t nest(struct message *m, int type);
void unnest(struct message *m, size_t at);
// Sends and waits for the first answer; an error answer becomes errno.
bool ask(int protocol, struct message *m);
// Whether a generic netlink family is there.
bool has_family(const char *name);
