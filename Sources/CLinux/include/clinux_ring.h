// io_uring for Swift, over liburing. liburing's own header stays out of Swift's sight: other packages bring another copy of the kernel's
// io_uring.h, and the compiler refuses two modules that define one type differently.
#ifndef SPACEPORT_CLINUX_RING_H
#define SPACEPORT_CLINUX_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct clinux_ring clinux_ring;

// A ring for the calling thread alone (SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL; COOP_TASKRUN where those are refused). NULL: the cause
// is in *error, as a positive errno.
clinux_ring *clinux_ring_create(unsigned submission_entries, unsigned completion_entries, unsigned registered_files, int *error);
void clinux_ring_destroy(clinux_ring *ring);

// One registered buffer, index 0. 0, or -errno.
int clinux_ring_register_buffer(clinux_ring *ring, void *start, size_t byte_count);
// Puts a descriptor (-1: none) at an index of the table of registered files. 1, or -errno.
int clinux_ring_set_file(clinux_ring *ring, unsigned index, int descriptor);

// Entering the kernel: each submits what is queued.
// Gathers completions without waiting.
void clinux_ring_poll(clinux_ring *ring);
// Waits for at least one completion.
void clinux_ring_wait(clinux_ring *ring);
void clinux_ring_wait_nanoseconds(clinux_ring *ring, uint64_t nanoseconds);
// The oldest completion that was gathered; false when there is none. Never a system call.
bool clinux_ring_next(clinux_ring *ring, uint64_t *user_data, int32_t *result);

// A file of an operation: an index of the table (registered), or a descriptor.
typedef struct {
  int32_t number;
  bool is_registered;
  bool may_block;  // begun by the kernel's worker threads at once: the ring's own thread never waits in the file system
} clinux_file;

// Queueing operations. A full queue is submitted first. Memory that is named must stay until the completion with this user_data.
void clinux_ring_read(clinux_ring *ring, uint64_t user_data, clinux_file file, void *start, unsigned byte_count, uint64_t offset, bool in_buffer);
// `is_durable`: RWF_DSYNC.
void clinux_ring_write(clinux_ring *ring, uint64_t user_data, clinux_file file, const void *start, unsigned byte_count, uint64_t offset,
                       bool in_buffer, bool is_durable);
void clinux_ring_fsync(clinux_ring *ring, uint64_t user_data, clinux_file file, bool data_only);
void clinux_ring_fallocate(clinux_ring *ring, uint64_t user_data, clinux_file file, int mode, uint64_t offset, uint64_t byte_count);
// What an open file is now: statx(2), for file systems whose answer may take long. `answer` is CLINUX_STATUS_BYTES long.
void clinux_ring_status(clinux_ring *ring, uint64_t user_data, int descriptor, void *answer);
void clinux_ring_accept(clinux_ring *ring, uint64_t user_data, clinux_file file);
void clinux_ring_receive(clinux_ring *ring, uint64_t user_data, clinux_file file, void *start, size_t byte_count);
void clinux_ring_receive_message(clinux_ring *ring, uint64_t user_data, clinux_file file, struct msghdr *message, int flags);
void clinux_ring_send(clinux_ring *ring, uint64_t user_data, clinux_file file, const void *start, size_t byte_count);
void clinux_ring_send_message(clinux_ring *ring, uint64_t user_data, clinux_file file, struct msghdr *message);
void clinux_ring_poll_readable(clinux_ring *ring, uint64_t user_data, clinux_file file);
// Cancels every operation on the file.
void clinux_ring_cancel_all(clinux_ring *ring, uint64_t user_data, clinux_file file);

#endif
