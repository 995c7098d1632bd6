// What Swift cannot import from the C headers as it is: variadic functions, macros, ioctl numbers, GNU extensions.
#ifndef SPACEPORT_CLINUX_H
#define SPACEPORT_CLINUX_H

// No GNU extensions here: Swift's own Glibc module is built without them, and the compiler refuses two modules that define a system
// type differently. What is GNU's is in clinux.c.
#include "clinux_ring.h"
#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <malloc.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <poll.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <netdb.h>

// CRC32C (Castagnoli): SSE 4.2 where the processor has it, a table elsewhere. `crc` is the running value, 0 to begin.
uint32_t clinux_crc32c(uint32_t crc, const void *data, size_t byteCount);

static const __rlimit_resource_t CLINUX_RLIMIT_MEMLOCK = RLIMIT_MEMLOCK;
static const __rlimit_resource_t CLINUX_RLIMIT_NOFILE = RLIMIT_NOFILE;

// wait(2)'s macros: the exit status, or -1 when a signal ended the process.
static inline int clinux_exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }

// errno is a macro.
static inline int clinux_errno(void) { return errno; }

// open(2) is variadic, which Swift does not import.
static inline int clinux_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }
static inline int clinux_fcntl_int(int fd, int command, int argument) { return fcntl(fd, command, argument); }

// Block device questions. 0, or -errno.
static inline int clinux_block_size_bytes(int fd, uint64_t *out) { return ioctl(fd, BLKGETSIZE64, out) < 0 ? -errno : 0; }
static inline int clinux_block_logical_sector(int fd, int *out) { return ioctl(fd, BLKSSZGET, out) < 0 ? -errno : 0; }
static inline int clinux_block_physical_sector(int fd, unsigned *out) { return ioctl(fd, BLKPBSZGET, out) < 0 ? -errno : 0; }
static inline int clinux_block_discard(int fd, uint64_t offset, uint64_t count) {
  uint64_t range[2] = {offset, count};
  return ioctl(fd, BLKDISCARD, range) < 0 ? -errno : 0;
}
static inline int clinux_block_is_read_only(int fd, int *out) { return ioctl(fd, BLKROGET, out) < 0 ? -errno : 0; }
static inline int clinux_block_reread_partitions(int fd) { return ioctl(fd, BLKRRPART) < 0 ? -errno : 0; }

// prctl(2) is variadic. The reactor's thread serves block I/O: its allocations must not wait for that same I/O. 0, or -errno.
static inline int clinux_set_io_flusher(void) {
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
  return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ? -errno : 0;
}

// How late this thread's timers may be: by default 50 us, so that several fire at once (prctl(2), PR_SET_TIMERSLACK).
static inline void clinux_set_timer_slack(unsigned long nanoseconds) { prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0); }

// What direct I/O on an open file must be aligned to, in bytes (statx(2), STATX_DIOALIGN). 0, or -errno; -ENOTSUP when it is not known.
int clinux_dio_alignment(int fd, uint32_t *memory, uint32_t *offset);

// What the integrity of a file disk is judged by. Bytes.
typedef struct {
  uint64_t byte_count;
  uint64_t allocated_byte_count;
  uint32_t links;
} clinux_file_status;

// Memory for statx(2)'s answer, and what is in one.
static const int CLINUX_STATUS_BYTES = 256;
clinux_file_status clinux_status_from_answer(const void *answer);

// True where the answer to fstat(2) comes from memory on this machine; false where another process or machine may have to be asked
// (FUSE, NFS, SMB, 9p, Ceph, ...), which can take for ever.
bool clinux_status_is_local(int fd);

// open(2)'s flag for I/O that passes the page cache by.
extern const int CLINUX_O_DIRECT;

// fallocate(2). 0, or -1 with errno.
int clinux_fallocate(int fd, int mode, off_t offset, off_t byteCount);

// pipe2(2) with O_CLOEXEC. 0, or -1 with errno.
int clinux_pipe(int descriptors[2]);

// An unnamed file in memory (memfd_create(2)), closed on exec. Its descriptor, or -errno.
int clinux_memory_file(const char *name);
// From now on nobody writes to a file in memory, or changes its size. 0, or -errno.
int clinux_seal(int fd);

// Starting programs: both return the process id, or -errno, and cost the same however much memory this process has.
// With an empty environment and three descriptors beside /dev/null as 0: `output` as its standard output (1), /dev/null as its standard
// error (2) and `input` as 3.
int clinux_spawn_isolated(const char *path, char *const arguments[], int input, int output);
// With this one's environment, without input, and with `output` as its standard output and error; the terminal's Ctrl-C does not reach it.
int clinux_spawn_tool(const char *path, char *const arguments[], int output);

// Waits until a child has ended, and leaves it to waitpid(2): until then its number is nobody else's. 0, or -errno.
int clinux_wait_for_end(int process);

// To be called by a program that reads what cannot be trusted, when it has begun: it ends with its parent, becomes nobody where it is root
// (but in a user namespace that has no nobody), gains no rights, starts no process, leaves no core, is killed first when memory is short, and
// may use so much; descriptor_count is the first descriptor that it cannot have. 0, or -errno: then it must not go on.
int clinux_confine(unsigned cpu_seconds, uint64_t memory_byte_count, unsigned descriptor_count);

// Names the calling thread, for top and gdb; cut to 15 bytes.
void clinux_set_thread_name(const char *name);
#endif
