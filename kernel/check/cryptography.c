// The kernel's cryptography, as programs get at it by sockets.
#include "check.h"
#include <linux/if_alg.h>
#include <sys/socket.h>
#include <unistd.h>

static void algorithm(const char *type, const char *name) {
  struct sockaddr_alg address = {.salg_family = AF_ALG};
  char what[128];
  snprintf(what, sizeof what, "algorithm %s %s", type, name);
  snprintf((char *)address.salg_type, sizeof address.salg_type, "%s", type);
  snprintf((char *)address.salg_name, sizeof address.salg_name, "%s", name);
  int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  check(what, fd >= 0 && bind(fd, (void *)&address, sizeof address) == 0);
  if (fd >= 0) close(fd);
}

// The SHA-256 of nothing begins with e3b0c442.
static bool hashes(void) {
  struct sockaddr_alg address = {.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha256"};
  unsigned char digest[32] = {0};
  int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (bind(fd, (void *)&address, sizeof address) != 0) return close(fd), false;
  int operation = accept(fd, NULL, NULL);
  bool ok = operation >= 0 && read(operation, digest, sizeof digest) == sizeof digest &&
            !memcmp(digest, "\xe3\xb0\xc4\x42", 4);
  close(operation), close(fd);
  return ok;
}

void cryptography(void) {
  static const char *const all[][2] = {
      {"hash", "md5"}, {"hash", "sha1"}, {"hash", "sha512"}, {"hash", "hmac(sha256)"}, {"hash", "cmac(aes)"},
      {"skcipher", "cbc(aes)"}, {"skcipher", "ctr(aes)"}, {"skcipher", "xts(aes)"},
      {"aead", "gcm(aes)"}, {"aead", "ccm(aes)"}, {"aead", "rfc7539(chacha20,poly1305)"}, {"rng", "stdrng"}};
  check("SHA-256", hashes());
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) algorithm(all[i][0], all[i][1]);
}
