#!/bin/bash
# Starts the server in the foreground, with a demo pool on three sparse files and one thin virtual disk; both are made once and kept.
#   run-demo.sh SPACEPORT        DEMO_DIR chooses where the files lie
set -euo pipefail
spaceport=$(realpath "${1:?usage: run-demo.sh SPACEPORT}")
state=${XDG_STATE_HOME:-$HOME/.local/state}/spaceport
runtime=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/spaceport}
runtime=${runtime:-/tmp/spaceport-$(id -u)}
if [ "$(id -u)" = 0 ]; then state=/var/lib/spaceport runtime=/run/spaceport; fi
demo=${DEMO_DIR:-$state/demo}
mkdir -p "$demo"
unset SPACEPORT_CONTROL # the server's default places, so that `spaceport` finds it without being told
nbd=$runtime/nbd.sock

"$spaceport" serve &
server=$!
stop() { kill -TERM "$server" 2> /dev/null || :; wait "$server"; exit; }
trap stop INT TERM

for _ in $(seq 600); do # a minute: it waits for the disks of the pools it knows
    if "$spaceport" pool list > /dev/null 2>&1; then break; fi
    kill -0 "$server" 2> /dev/null || { wait "$server"; exit; } # it has said why
    sleep 0.1
done
if ! "$spaceport" pool show demo > /dev/null 2>&1; then
    for n in 1 2 3; do
        [ -e "$demo/disk$n" ] || truncate -s 4GiB "$demo/disk$n"
    done
    "$spaceport" pool create demo "$demo"/disk{1,2,3} > /dev/null
fi
"$spaceport" vdisk show demo/disk > /dev/null 2>&1 || "$spaceport" vdisk create demo/disk --size 10GiB > /dev/null

cat << TEXT

The pool demo lies on $demo/disk1, disk2, disk3; its virtual disk demo/disk is served at
    nbd+unix:///demo/disk?socket=$nbd

In another terminal, attach it as a block device, format it, mount it (as root):
    modprobe nbd
    nbd-client -unix $nbd /dev/nbd0 -N demo/disk -b 512 -C 4 -timeout 30
    mkfs.ext4 /dev/nbd0 && mount /dev/nbd0 /mnt

Load it with fio, through the kernel or, without root, straight over NBD (this overwrites what is on it):
    fio --name=load --filename=/mnt/load --size=1G --rw=randrw --bs=4k --iodepth=32 --ioengine=libaio --direct=1
    fio --name=load --ioengine=nbd --uri='nbd+unix:///demo/disk?socket=$nbd' --size=1G --rw=randrw --bs=4k --iodepth=32 --verify=crc32c --verify_state_save=0

Look into the stack meanwhile:
    $spaceport stack demo/disk

Detach with: umount /mnt; nbd-client -d /dev/nbd0
Ctrl-C here stops the server; what it holds stays for the next start.
TEXT
wait "$server"
