// Makes an NBD export a block device of this machine: the handshake with libnbd, the rest by the kernel, which is told over netlink.
#ifndef SPACEPORT_CATTACH_H
#define SPACEPORT_CATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Room for a message, in bytes.
enum { CATTACH_MESSAGE_BYTES = 512 };

// What went wrong, beside the library's own message.
enum {
  CATTACH_OK = 0,
  CATTACH_FAILED = -1,
  // The kernel has no nbd, or its module is not loaded.
  CATTACH_NO_MODULE = -2,
  CATTACH_NOT_PERMITTED = -3,
  // libnbd is not installed.
  CATTACH_NO_LIBRARY = -4,
  CATTACH_TIMED_OUT = -5,
};

// What an export is, as its server says. `descriptor` is the connected socket, past its handshake; it is closed on exec, and the caller's.
typedef struct {
  int descriptor;
  uint64_t byte_count;
  // NBD's transmission flags, as far as the kernel knows them.
  uint64_t flags;
} cattach_connection;

// Connects to an export: by the Unix socket `path`, or to `host` and `port` where it is NULL. CATTACH_OK or what went wrong.
int cattach_connect(const char *path, const char *host, const char *port, const char *export_name, int limit_milliseconds,
                    cattach_connection *connection, char message[CATTACH_MESSAGE_BYTES]);

typedef struct {
  const int *descriptors;
  int descriptor_count;
  uint64_t byte_count;
  uint64_t block_byte_count;
  uint64_t flags;
  // A request unanswered for so long means that its connection is lost; how long the kernel waits for another when all are. Seconds.
  uint64_t timeout_seconds;
  uint64_t dead_connection_timeout_seconds;
  const char *identifier;
} cattach_device;

// Has the kernel serve a device by these connections. `index` is its number.
int cattach_device_connect(const cattach_device *device, uint32_t *index, char message[CATTACH_MESSAGE_BYTES]);

// Gives a device that has lost connections new ones, as many as it has lost, and another size. `device` has descriptors or none, the identifier
// that the device was made with or NULL where it was made without, and its size or 0.
int cattach_device_reconfigure(const cattach_device *device, uint32_t index, char message[CATTACH_MESSAGE_BYTES]);

int cattach_device_disconnect(uint32_t index, char message[CATTACH_MESSAGE_BYTES]);

// Tells the kernel that a partition of an open block device ends somewhere else, which it may though it is in use. Bytes. 0, or -errno.
int cattach_partition_resize(int descriptor, int number, uint64_t offset_bytes, uint64_t byte_count);

#endif
