#include "cattach.h"

#include <errno.h>
#include <linux/blkpg.h>
#include <sys/ioctl.h>

int cattach_partition_resize(int descriptor, int number, uint64_t offset_bytes, uint64_t byte_count) {
  struct blkpg_partition partition = {.start = (long long)offset_bytes, .length = (long long)byte_count, .pno = number};
  struct blkpg_ioctl_arg argument = {.op = BLKPG_RESIZE_PARTITION, .datalen = sizeof partition, .data = &partition};
  return ioctl(descriptor, BLKPG, &argument) < 0 ? -errno : 0;
}
