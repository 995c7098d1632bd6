#include "cattach.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <stdio.h>
#include <string.h>

// libnbd is loaded when something is attached: it brings GnuTLS and libxml2 along, which the server, the same program, has no use for.
#define FUNCTIONS(F)                                                                                                                 \
  F(create) F(close) F(set_export_name) F(set_request_structured_replies) F(aio_connect_unix)                                        \
  F(aio_connect_tcp) F(aio_is_connecting) F(aio_is_ready) F(aio_get_fd) F(poll) F(get_size) F(get_error) F(is_read_only)           \
  F(can_flush) F(can_fua) F(is_rotational) F(can_trim) F(can_zero) F(can_multi_conn)

#define DECLARE(name) __typeof__(&nbd_##name) name;
static struct { FUNCTIONS(DECLARE) } nbd;
// libnbd 1.18 and newer ask for these unless told not to.
static int (*set_request_extended_headers)(struct nbd_handle *, bool);

static bool load(char *message) {
  static bool is_loaded;
  if (is_loaded) return true;
  void *library = dlopen("libnbd.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(message, CATTACH_MESSAGE_BYTES, "%s", dlerror());
    return false;
  }
#define FIND(name)                                                                                                                   \
  if (!(nbd.name = (__typeof__(nbd.name))dlsym(library, "nbd_" #name))) {                                                            \
    snprintf(message, CATTACH_MESSAGE_BYTES, "%s", dlerror());                                                                       \
    return false;                                                                                                                    \
  }
  FUNCTIONS(FIND)
  set_request_extended_headers = (__typeof__(set_request_extended_headers))dlsym(library, "nbd_set_request_extended_headers");
  return is_loaded = true;
}

// NBD's protocol text, "Transmission flags". The kernel knows no others of use to it.
static uint64_t transmission_flags(struct nbd_handle *handle) {
  uint64_t flags = 1;
  if (nbd.is_read_only(handle) == 1) flags |= 1 << 1;
  if (nbd.can_flush(handle) == 1) flags |= 1 << 2;
  if (nbd.can_fua(handle) == 1) flags |= 1 << 3;
  if (nbd.is_rotational(handle) == 1) flags |= 1 << 4;
  if (nbd.can_trim(handle) == 1) flags |= 1 << 5;
  if (nbd.can_zero(handle) == 1) flags |= 1 << 6;
  if (nbd.can_multi_conn(handle) == 1) flags |= 1 << 8;
  return flags;
}

static int explain_nbd(int what, char *message) {
  snprintf(message, CATTACH_MESSAGE_BYTES, "%s", nbd.get_error());
  return what;
}

static int handshake(struct nbd_handle *handle, const char *path, const char *host, const char *port, const char *export_name,
                     int limit_milliseconds, char *message) {
  // The kernel's client knows simple replies only, and takes the socket over as it is.
  if (nbd.set_export_name(handle, export_name) < 0 || nbd.set_request_structured_replies(handle, false) < 0 ||
      (set_request_extended_headers && set_request_extended_headers(handle, false) < 0) ||
      (path ? nbd.aio_connect_unix(handle, path) : nbd.aio_connect_tcp(handle, host, port)) < 0)
    return explain_nbd(CATTACH_FAILED, message);
  while (nbd.aio_is_connecting(handle)) {
    int events = nbd.poll(handle, limit_milliseconds);
    if (events < 0) return explain_nbd(CATTACH_FAILED, message);
    if (events == 0) return CATTACH_TIMED_OUT;
  }
  return nbd.aio_is_ready(handle) ? CATTACH_OK : explain_nbd(CATTACH_FAILED, message);
}

int cattach_connect(const char *path, const char *host, const char *port, const char *export_name, int limit_milliseconds,
                    cattach_connection *connection, char message[CATTACH_MESSAGE_BYTES]) {
  message[0] = 0;
  if (!load(message)) return CATTACH_NO_LIBRARY;
  struct nbd_handle *handle = nbd.create();
  if (!handle) return explain_nbd(CATTACH_FAILED, message);
  int result = handshake(handle, path, host, port, export_name, limit_milliseconds, message);
  if (result == CATTACH_OK) {
    int64_t byte_count = nbd.get_size(handle);
    connection->flags = transmission_flags(handle);
    connection->descriptor = byte_count < 0 ? -1 : fcntl(nbd.aio_get_fd(handle), F_DUPFD_CLOEXEC, 0);
    connection->byte_count = byte_count < 0 ? 0 : (uint64_t)byte_count;
    if (byte_count < 0) result = explain_nbd(CATTACH_FAILED, message);
    else if (connection->descriptor < 0) {
      snprintf(message, CATTACH_MESSAGE_BYTES, "%s", strerror(errno));
      result = CATTACH_FAILED;
    }
  }
  // Closes its own descriptor, and says nothing to the server.
  nbd.close(handle);
  return result;
}
