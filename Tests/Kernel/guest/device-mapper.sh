# shellcheck shell=bash disable=SC2086
# Sourced by lib.sh. Disks made by the kernel's device mapper, whose tables are exchanged while they are in use.

# There is no udev here: libdevmapper is told to make the nodes in /dev/mapper itself.
dm() { DM_DISABLE_UDEV=1 dmsetup "$@"; }

# dm_create NAME TABLE
dm_create() { dm create "$1" --table "$2" && [ -b "/dev/mapper/$1" ]; }

# dm_become NAME TABLE: the disk is this from now on. What is in flight is over before; what comes meanwhile waits.
dm_become() { dm load "$1" --table "$2" && dm suspend --nolockfs "$1" && dm resume "$1" && dm table "$1"; }

dm_sectors() { blockdev --getsz "$1"; }

dm_names() { dm ls 2>/dev/null | awk '$1 != "No" { print $1 }'; }
dm_resume_all() {
  local name
  for name in $(dm_names); do dm resume $name; done
}
# Disks that lie on others go first: a few rounds.
dm_remove_all() {
  local name round
  for round in 1 2 3; do
    for name in $(dm_names); do dm remove --retry $name; done
  done 2>/dev/null
  [ -z "$(dm_names)" ]
}
