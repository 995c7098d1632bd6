#!/bin/bash
# Starts the server in the foreground, with a demo pool on three sparse files and one thin virtual disk; both are made once and kept.
#   run-demo.sh SPACEPORT        DEMO_DIR chooses where the files lie
set -euo pipefail
spaceport=$(realpath "${1:?usage: run-demo.sh SPACEPORT}")
state=${XDG_STATE_HOME:-$HOME/.local/state}/spaceport
if [ "$(id -u)" = 0 ]; then state=/var/lib/spaceport; fi
demo=$(realpath -m "${DEMO_DIR:-$state/demo}")
disks=("$demo/disk1" "$demo/disk2" "$demo/disk3")
unset SPACEPORT_CONTROL # the server's default places, so that `spaceport` finds it without being told

say() { echo "run-demo: $*" >&2; }
# The values of a key in the JSON on standard input, one a line.
values() { sed -nE "/^ *\"$1\" : /{s///;s/,\$//;s/^\"(.*)\"\$/\1/;p}"; }
running() { kill -0 "$server" 2> /dev/null; }
# Only this server: another one, whose sockets this one could not have, would answer as well.
answers() { [ "$("$spaceport" status --json 2> /dev/null | values processID)" = "$server" ]; }
pool_state() { "$spaceport" pool show demo --json 2> /dev/null | values state | tail -1; }
is_pooled() { [ -e "$1" ] && { "$spaceport" inspect "$1" --json 2> /dev/null || :; } | grep -q '"isPoolDisk" : true'; }

# Opens the demo's pool if its disks are one, else makes it. Fails when there is something else, or only a part of it.
find_pool() {
    local disk pooled=() missing=() error
    for disk in "${disks[@]}"; do
        [ -e "$disk" ] || missing+=("$disk")
        if is_pooled "$disk"; then pooled+=("$disk"); fi
    done
    if [ ${#pooled[@]} -gt 0 ]; then
        if "$spaceport" pool open "${pooled[@]}" > /dev/null; then
            [ -z "$(pool_state)" ] || return 0
            say "${pooled[*]}: the disks of another pool than demo. Choose another place: DEMO_DIR=/somewhere make run"
            return 1
        fi
        [ ${#missing[@]} = 0 ] || say "The file ${missing[*]} is missing. Put it back and type: $spaceport pool open ${disks[*]}"
        say "To begin with a new demo instead, stop this, move what is in $demo away, and start again."
        return 1
    fi
    mkdir -p "$demo"
    for disk in "${missing[@]}"; do truncate -s 4GiB "$disk"; done
    if ! error=$("$spaceport" pool create demo "${disks[@]}" 2>&1 > /dev/null); then
        # Without the advice to wipe what somebody may want to keep.
        say "$(sed -E 's/^spaceport: //; s/,? or give --force[^.]*//' <<< "$error")"
        say "Move what is in $demo away, or choose another place: DEMO_DIR=/somewhere make run"
        return 1
    fi
}

"$spaceport" serve &
server=$!
stop() { kill -TERM "$server" 2> /dev/null || :; wait "$server"; exit; }
trap stop INT TERM
trap 'kill -TERM "$server" 2> /dev/null || :' EXIT

for _ in $(seq 600); do # a minute: it waits for the disks of the pools it knows
    running || { wait "$server"; exit; } # it has said why
    if answers; then break; fi
    sleep 0.1
done
answers || { say "The server does not answer."; exit 1; }

case $(pool_state) in
    ok | degraded) ;;
    '') find_pool || say "The server runs on without the demo's pool; when that is opened, this goes on." ;;
    *)
        "$spaceport" pool list >&2
        say "The server runs on, and opens the pool demo as soon as its disks are there."
        say "To begin with a new demo instead: $spaceport pool close demo, stop this, move what is in $demo away, and start again."
        ;;
esac
until case $(pool_state) in ok | degraded) true ;; *) false ;; esac do
    running || { wait "$server"; exit; }
    sleep 1
done
"$spaceport" vdisk show demo/disk > /dev/null 2>&1 || "$spaceport" vdisk create demo/disk --size 10GiB > /dev/null

# What the server says, which may be another place than this was told.
mapfile -t places < <("$spaceport" pool show demo --json | values path)
nbd=$("$spaceport" status --json | sed -nE 's/^ *"unix:(.*)",?$/\1/p' | head -1)
if [ "$(realpath -m "${places[@]}" | xargs -d '\n' dirname | sort -u)" != "$demo" ]; then
    say "Note: the demo was made elsewhere before, and not in $demo; it is used where it is."
    say "For a new one there: $spaceport pool close demo, stop this, and start it again."
fi

cat << TEXT

The pool demo lies on ${places[*]}
Its virtual disk demo/disk is served at
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
