# shellcheck shell=bash
# Sourced behind pack.sh. systemd and udev for the guest's part "systemd", with units that start nothing but that part.

# pack_systemd ROOT: this machine's own, whose programs need no more libraries than are packed with them
pack_systemd() {
  local root=$1 file
  mkdir -p "$root/usr/lib" "$root/etc/systemd/system"
  cp -a --parents /usr/lib/systemd /usr/lib/udev "$root/" || return 1
  rm -rf "$root"/usr/lib/udev/hwdb.*
  # What is started, and matters; the rest fails, or needs nothing else than these.
  for file in systemd systemd-udevd systemd-journald systemd-fsck system-generators/systemd-fstab-generator; do
    pack_libraries "$root" "/usr/lib/systemd/$file"
  done
  for file in systemctl udevadm systemd-tmpfiles fsck fsck.ext4; do pack_program "$root" "$file" || return 1; done
  # Its libraries are looked for beside it; they have others of their own.
  for file in /usr/lib/x86_64-linux-gnu/systemd/*.so; do pack_file "$root" "$file" && pack_libraries "$root" "$file"; done
  : > "$root/etc/machine-id"
  : > "$root/etc/fstab"
  printf '[Unit]\nDescription=the kernel test\nRequires=basic.target\nAfter=basic.target\nWants=kernel-test.service\nAllowIsolate=yes\n' \
    > "$root/etc/systemd/system/default.target"
  printf '[Unit]\nDescription=the kernel test\n[Service]\nType=exec\nExecStart=/bin/sh /test/run-parts.sh\n' \
    > "$root/etc/systemd/system/kernel-test.service"
}
