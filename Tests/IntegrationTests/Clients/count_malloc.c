// Preloaded into the server: counts its allocations in a file that the test maps or reads (COUNT_MALLOC_FILE, 8 bytes, native order).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t before_start;
static _Atomic uint64_t *count = &before_start;

__attribute__((constructor)) static void map_file(void) {
  const char *path = getenv("COUNT_MALLOC_FILE");
  int fd = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
  if (fd < 0 || ftruncate(fd, 8) < 0) return;
  void *page = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (page != MAP_FAILED) count = page;
  close(fd);
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) { ++*count; return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { ++*count; return __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { ++*count; return __libc_realloc(old, size); }
void *memalign(size_t alignment, size_t size) { ++*count; return __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { ++*count; return __libc_memalign(alignment, size); }
int posix_memalign(void **result, size_t alignment, size_t size) {
  ++*count;
  return (*result = __libc_memalign(alignment, size)) ? 0 : 12;
}
