#define _GNU_SOURCE
#include "clinux_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>

struct clinux_ring {
  struct io_uring ring;
};

clinux_ring *clinux_ring_create(unsigned submission_entries, unsigned completion_entries, unsigned registered_files, int *error) {
  clinux_ring *ring = calloc(1, sizeof *ring);
  if (!ring) {
    *error = ENOMEM;
    return NULL;
  }
  const unsigned modes[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN};
  int result = 0;
  for (int i = 0; i < 2; i++) {
    struct io_uring_params parameters = {.flags = modes[i] | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE, .cq_entries = completion_entries};
    result = io_uring_queue_init_params(submission_entries, &ring->ring, &parameters);
    if (result != -EINVAL) break;
  }
  if (result < 0) {
    free(ring);
    *error = -result;
    return NULL;
  }
  io_uring_register_ring_fd(&ring->ring);
  io_uring_register_files_sparse(&ring->ring, registered_files);
  return ring;
}

void clinux_ring_destroy(clinux_ring *ring) {
  io_uring_queue_exit(&ring->ring);
  free(ring);
}

int clinux_ring_register_buffer(clinux_ring *ring, void *start, size_t byte_count) {
  struct iovec vector = {start, byte_count};
  return io_uring_register_buffers(&ring->ring, &vector, 1);
}

int clinux_ring_set_file(clinux_ring *ring, unsigned index, int descriptor) {
  return io_uring_register_files_update(&ring->ring, index, &descriptor, 1);
}

void clinux_ring_poll(clinux_ring *ring) { io_uring_submit_and_get_events(&ring->ring); }
void clinux_ring_wait(clinux_ring *ring) { io_uring_submit_and_wait(&ring->ring, 1); }

void clinux_ring_wait_nanoseconds(clinux_ring *ring, uint64_t nanoseconds) {
  struct __kernel_timespec timeout = {(int64_t)(nanoseconds / 1000000000), (long long)(nanoseconds % 1000000000)};
  struct io_uring_cqe *first;
  io_uring_submit_and_wait_timeout(&ring->ring, &first, 1, &timeout, NULL);
}

bool clinux_ring_next(clinux_ring *ring, uint64_t *user_data, int32_t *result) {
  struct io_uring_cqe *completion;
  unsigned head;
  io_uring_for_each_cqe(&ring->ring, head, completion) {
    *user_data = completion->user_data;
    *result = completion->res;
    io_uring_cq_advance(&ring->ring, 1);
    return true;
  }
  return false;
}

static struct io_uring_sqe *next_entry(clinux_ring *ring) {
  struct io_uring_sqe *entry;
  while (!(entry = io_uring_get_sqe(&ring->ring))) io_uring_submit(&ring->ring);
  return entry;
}

// After the prep function, which clears the entry.
static void finish(struct io_uring_sqe *entry, clinux_file file, uint64_t user_data) {
  entry->fd = file.number;
  if (file.is_registered) entry->flags |= IOSQE_FIXED_FILE;
  if (file.may_block) entry->flags |= IOSQE_ASYNC;
  entry->user_data = user_data;
}

void clinux_ring_read(clinux_ring *ring, uint64_t user_data, clinux_file file, void *start, unsigned byte_count, uint64_t offset, bool in_buffer) {
  struct io_uring_sqe *entry = next_entry(ring);
  if (in_buffer) io_uring_prep_read_fixed(entry, 0, start, byte_count, offset, 0);
  else io_uring_prep_read(entry, 0, start, byte_count, offset);
  finish(entry, file, user_data);
}

void clinux_ring_write(clinux_ring *ring, uint64_t user_data, clinux_file file, const void *start, unsigned byte_count, uint64_t offset,
                       bool in_buffer, bool is_durable) {
  struct io_uring_sqe *entry = next_entry(ring);
  if (in_buffer) io_uring_prep_write_fixed(entry, 0, start, byte_count, offset, 0);
  else io_uring_prep_write(entry, 0, start, byte_count, offset);
  if (is_durable) entry->rw_flags = RWF_DSYNC;
  finish(entry, file, user_data);
}

void clinux_ring_fsync(clinux_ring *ring, uint64_t user_data, clinux_file file, bool data_only) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_fsync(entry, 0, data_only ? IORING_FSYNC_DATASYNC : 0);
  finish(entry, file, user_data);
}

void clinux_ring_fallocate(clinux_ring *ring, uint64_t user_data, clinux_file file, int mode, uint64_t offset, uint64_t byte_count) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_fallocate(entry, 0, mode, (off_t)offset, (off_t)byte_count);
  finish(entry, file, user_data);
}

void clinux_ring_status(clinux_ring *ring, uint64_t user_data, int descriptor, void *answer) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_statx(entry, descriptor, "", AT_EMPTY_PATH, STATX_SIZE | STATX_NLINK | STATX_BLOCKS, answer);
  entry->user_data = user_data;
}

void clinux_ring_accept(clinux_ring *ring, uint64_t user_data, clinux_file file) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_accept(entry, 0, NULL, NULL, SOCK_CLOEXEC);
  finish(entry, file, user_data);
}

void clinux_ring_receive(clinux_ring *ring, uint64_t user_data, clinux_file file, void *start, size_t byte_count) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_recv(entry, 0, start, byte_count, 0);
  finish(entry, file, user_data);
}

void clinux_ring_receive_message(clinux_ring *ring, uint64_t user_data, clinux_file file, struct msghdr *message, int flags) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_recvmsg(entry, 0, message, (unsigned)flags);
  finish(entry, file, user_data);
}

void clinux_ring_send(clinux_ring *ring, uint64_t user_data, clinux_file file, const void *start, size_t byte_count) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_send(entry, 0, start, byte_count, MSG_NOSIGNAL);
  finish(entry, file, user_data);
}

void clinux_ring_send_message(clinux_ring *ring, uint64_t user_data, clinux_file file, struct msghdr *message) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_sendmsg(entry, 0, message, MSG_NOSIGNAL);
  finish(entry, file, user_data);
}

void clinux_ring_poll_readable(clinux_ring *ring, uint64_t user_data, clinux_file file) {
  struct io_uring_sqe *entry = next_entry(ring);
  io_uring_prep_poll_add(entry, 0, POLLIN);
  finish(entry, file, user_data);
}

void clinux_ring_cancel_all(clinux_ring *ring, uint64_t user_data, clinux_file file) {
  struct io_uring_sqe *entry = next_entry(ring);
  unsigned flags = IORING_ASYNC_CANCEL_ALL | (file.is_registered ? IORING_ASYNC_CANCEL_FD_FIXED : 0);
  io_uring_prep_cancel_fd(entry, file.number, flags);
  entry->user_data = user_data;
}
