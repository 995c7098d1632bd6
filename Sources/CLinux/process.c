#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int clinux_memory_file(const char *name) {
  int fd = memfd_create(name, MFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int clinux_pipe(int descriptors[2]) { return pipe2(descriptors, O_CLOEXEC); }

int clinux_spawn(const char *path, char *const arguments[], int input, int output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  char *environment[] = {NULL};
  sigset_t none, all;
  pid_t pid;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return -error;
  error = posix_spawnattr_init(&attributes);
  if (error) goto no_attributes;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  // By way of high numbers: neither of the two may be overwritten by the other.
  if ((error = posix_spawn_file_actions_adddup2(&actions, input, 101)) ||
      (error = posix_spawn_file_actions_adddup2(&actions, output, 102)) ||
      (error = posix_spawn_file_actions_adddup2(&actions, 102, 1)) ||
      (error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) ||
      (error = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)) ||
      (error = posix_spawn_file_actions_adddup2(&actions, 101, 3)) ||
      (error = posix_spawn_file_actions_addclosefrom_np(&actions, 4)))
    goto done;
  error = posix_spawn(&pid, path, &actions, &attributes, arguments, environment);
done:
  posix_spawnattr_destroy(&attributes);
no_attributes:
  posix_spawn_file_actions_destroy(&actions);
  return error ? -error : pid;
}

int clinux_spawn_tool(const char *path, char *const arguments[], int output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  pid_t pid;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return -error;
  error = posix_spawnattr_init(&attributes);
  if (error) goto no_attributes;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  if ((error = posix_spawn_file_actions_adddup2(&actions, output, 102)) ||
      (error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) ||
      (error = posix_spawn_file_actions_adddup2(&actions, 102, 1)) || (error = posix_spawn_file_actions_adddup2(&actions, 102, 2)) ||
      (error = posix_spawn_file_actions_addclosefrom_np(&actions, 3)))
    goto done;
  error = posix_spawn(&pid, path, &actions, &attributes, arguments, environ);
done:
  posix_spawnattr_destroy(&attributes);
no_attributes:
  posix_spawn_file_actions_destroy(&actions);
  return error ? -error : pid;
}

static int limit(__rlimit_resource_t what, rlim_t value) {
  struct rlimit both = {value, value};
  return setrlimit(what, &both) < 0 ? -errno : 0;
}

int clinux_confine(unsigned cpuSeconds, uint64_t memoryByteCount) {
  enum { NOBODY = 65534 };
  int error;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return -errno;
  if ((error = limit(RLIMIT_CPU, cpuSeconds)) || (error = limit(RLIMIT_DATA, memoryByteCount)) || (error = limit(RLIMIT_CORE, 0)) ||
      (error = limit(RLIMIT_FSIZE, 0)))
    return error;
  // Inside of a container that maps one user only there is no nobody: it goes on with what that user may.
  if (geteuid() == 0 && setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0) {
    // Changing the user has taken back that it ends with its parent.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return -errno;
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  return 0;
}
