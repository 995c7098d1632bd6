# shellcheck shell=bash disable=SC2154
# Sourced by run.sh. Runs the guest. Wants: WORK OUT (as lib/server.sh), here (this test's folder), kernel (directory),
# base (initramfs archive), extra (tree laid over it), guest_limit_seconds.

VM_MEMORY_MIB=1024
VM_CPUS=2
# An emulated guest reaches its shell in 3 to 5 s on an idle machine.
VM_BOOT_LIMIT_SECONDS=60
# Beyond the guest's own limit, for boot and for handing its files back
VM_EXTRA_SECONDS=90
qemu_pid=

vm_shell_is_up() { grep -qa '^guest: ' "$OUT/console.log"; }

vm_run_once() {
  local tries follower disk drives=()
  # Known by their serial numbers. cache=unsafe, here and below: a FLUSH of the guest's must not wait for this machine's disk. When that is
  # busy it takes more than the 10 s after which the server gives a disk up, and nothing here has to survive this machine's crash.
  for disk in "${powercut_disks[@]}"; do
    drives+=(-drive "file=$WORK/$disk.img,format=raw,if=none,id=$disk,cache=unsafe,discard=unmap")
    drives+=(-device "virtio-blk-pci,drive=$disk,serial=$disk")
  done
  : > "$OUT/console.log"
  # tcg: stock kernels start wherever this runs, and alike; /dev/kvm is often there and does not work (nested machines).
  # clearcpuid=cx16: QEMU 7.2 emulates cmpxchg16b in a way that makes 6.12 kernels corrupt their slab lists; told so, they take another
  # path. The instruction itself stays: Swift's run time has no other, and spaceport runs in here too.
  # timeout stays in the foreground process group, so that Ctrl-C ends the guest too.
  timeout --foreground -k 5 $((guest_limit_seconds + VM_EXTRA_SECONDS)) qemu-system-x86_64 \
    -accel tcg,thread=multi -M q35 -cpu max -smp "$VM_CPUS" -m "$VM_MEMORY_MIB" \
    -nodefaults -display none -no-reboot -serial "file:$OUT/console.log" \
    -kernel "$kernel/vmlinux" -initrd "$WORK/initrd" \
    -append "console=ttyS0 panic=-1 oops=panic no_timer_check nowatchdog rcupdate.rcu_cpu_stall_timeout=60 log_buf_len=4M clearcpuid=cx16 printk.devkmsg=on loglevel=1" \
    -netdev "user,id=net,guestfwd=tcp:10.0.2.50:1-cmd:$here/lib/host-hook.sh" -device virtio-net-pci,netdev=net,romfile= \
    -device virtio-rng-pci -device virtio-serial-pci \
    -chardev "file,id=out,path=$WORK/out.tar" -device virtserialport,chardev=out,name=out \
    -drive "file=$WORK/guest-disk.img,format=raw,if=none,id=disk,cache=unsafe,discard=unmap" -device virtio-blk-pci,drive=disk \
    "${drives[@]}" \
    < /dev/null >> "$OUT/qemu.log" 2>&1 &
  qemu_pid=$!
  for ((tries = VM_BOOT_LIMIT_SECONDS * 5; tries > 0; tries--)); do
    if vm_shell_is_up || ! kill -0 "$qemu_pid" 2>/dev/null; then break; fi
    sleep 0.2
  done
  if ! vm_shell_is_up; then
    kill "$qemu_pid" 2>/dev/null || true
    wait "$qemu_pid" || true
    qemu_pid=
    cp "$OUT/console.log" "$OUT/console.stalled.log"
    return 1
  fi
  tail -n +1 -f --pid="$qemu_pid" "$OUT/console.log" | sed -u 's/\r$//' &
  follower=$!
  wait "$qemu_pid" || true
  qemu_pid=
  wait "$follower" || true
}

# vm_run: 0 when the guest booted and ended by itself or by its limit. What it found is for the caller to read.
vm_run() {
  cat "$base" <(make_cpio "$extra") > "$WORK/initrd"
  # About one emulated boot in 130 stalls before its first shell. That says nothing about the server, so it gets one more chance.
  if ! vm_run_once; then
    echo "the guest stalled while booting (see console.stalled.log); starting it once more"
    vm_run_once || return 1
  fi
  tar -C "$OUT" -xf "$WORK/out.tar"
}
