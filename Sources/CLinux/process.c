#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int clinux_memory_file(const char *name) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return fd < 0 ? -errno : fd;
}

int clinux_seal(int fd) { return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0 ? -errno : 0; }

int clinux_pipe(int descriptors[2]) { return pipe2(descriptors, O_CLOEXEC); }

enum { MOST_DESCRIPTORS = 4 };

// Starts a program with descriptors 0 to count - 1 and no others; -1 stands for /dev/null.
static int spawn(const char *path, char *const arguments[], char *const environment[], short flags, const int *descriptors, int count) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  pid_t pid = 0;
  int copies[MOST_DESCRIPTORS] = {-1, -1, -1, -1};
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return -error;
  error = posix_spawnattr_init(&attributes);
  if (error) goto no_attributes;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | flags);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  // Copied above all targets first: whatever their numbers are here, none is overwritten before it is used.
  for (int target = 0; target < count; target++) {
    if (descriptors[target] < 0) {
      error = posix_spawn_file_actions_addopen(&actions, target, "/dev/null", O_RDWR, 0);
    } else {
      copies[target] = fcntl(descriptors[target], F_DUPFD_CLOEXEC, MOST_DESCRIPTORS);
      error = copies[target] < 0 ? errno : posix_spawn_file_actions_adddup2(&actions, copies[target], target);
    }
    if (error) goto done;
  }
  if ((error = posix_spawn_file_actions_addclosefrom_np(&actions, count))) goto done;
  error = posix_spawn(&pid, path, &actions, &attributes, arguments, environment);
done:
  for (int target = 0; target < count; target++)
    if (copies[target] >= 0) close(copies[target]);
  posix_spawnattr_destroy(&attributes);
no_attributes:
  posix_spawn_file_actions_destroy(&actions);
  return error ? -error : pid;
}

int clinux_spawn_isolated(const char *path, char *const arguments[], int input, int output) {
  char *environment[] = {NULL};
  int descriptors[] = {-1, output, -1, input};
  return spawn(path, arguments, environment, 0, descriptors, 4);
}

int clinux_spawn_tool(const char *path, char *const arguments[], int output) {
  int descriptors[] = {-1, output, output};
  return spawn(path, arguments, environ, POSIX_SPAWN_SETPGROUP, descriptors, 3);
}

int clinux_wait_for_end(int process) {
  siginfo_t information;
  while (waitid(P_PID, (id_t)process, &information, WEXITED | WNOWAIT) < 0)
    if (errno != EINTR) return -errno;
  return 0;
}

static int limit(__rlimit_resource_t what, rlim_t value) {
  struct rlimit both = {value, value};
  return setrlimit(what, &both) < 0 ? -errno : 0;
}

// The first process to be killed when memory is short, though its parent is the last.
static int become_first_victim(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int error = write(fd, "1000", 4) == 4 ? 0 : -errno;
  close(fd);
  return error;
}

// Whether this user namespace has a number: user_namespaces(7), /proc/self/uid_map and gid_map. true where that cannot be read.
static bool is_mapped(const char *path, unsigned long number) {
  FILE *map = fopen(path, "re");
  unsigned long inside, outside, count;
  bool is_there = map == NULL;
  while (map && !is_there && fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3)
    is_there = number >= inside && number - inside < count;
  if (map) fclose(map);
  return is_there;
}

static int become_nobody(void) {
  enum { NOBODY = 65534 };
  // Inside of a container that maps one user only there is no nobody: it goes on with what that user may.
  if (!is_mapped("/proc/self/uid_map", NOBODY) || !is_mapped("/proc/self/gid_map", NOBODY)) return 0;
  return setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0 ? -errno : 0;
}

int clinux_confine(unsigned cpu_seconds, uint64_t memory_byte_count, unsigned descriptor_count) {
  int error;
  if ((error = become_first_victim()) || (geteuid() == 0 && (error = become_nobody()))) return error;
  // Behind that: changing the user takes it back.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return -errno;
  if ((error = limit(RLIMIT_CPU, cpu_seconds)) || (error = limit(RLIMIT_DATA, memory_byte_count)) || (error = limit(RLIMIT_CORE, 0)) ||
      (error = limit(RLIMIT_FSIZE, 0)) || (error = limit(RLIMIT_NPROC, 0)) || (error = limit(RLIMIT_NOFILE, descriptor_count)))
    return error;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  return 0;
}
