#!/bin/bash
# Suites and tools that no one here wrote, as they are, against the server; prints a table, and how many passed, failed and were skipped.
#
#   Tests/Suites/run.sh [SPACEPORT-BINARY [PART...]]     parts: nbd_info nbd_copy nbd_shell qemu checkwrite fio_runs nbd_tester libnbd_suite qemu_iotests
#
# Those of nbd, libnbd and qemu come from Debian's source packages: nbd's from trixie, as bookworm's is not to be had everywhere.
set -u
binary=$(realpath "${1:-.build/release/spaceport}")
[ $# -gt 0 ] && shift
parts=${*:-nbd_info nbd_copy nbd_shell qemu checkwrite fio_runs nbd_tester libnbd_suite qemu_iotests}
work=$(mktemp -d /tmp/spaceport-suites.XXXXXX)
control=$work/control.sock
socket=$work/nbd.sock
uri="nbd+unix:///tank/disk?socket=$socket"
server= tls_server=
passed=0 failed=0 skipped=0
table=$work/table

end() {
  local process
  for process in $server $tls_server; do kill "$process" 2>/dev/null && wait "$process" 2>/dev/null; done
  rm -rf "$work"
}
trap end EXIT

row() { printf '%-8s %-34s %s\n' "$1" "$2" "${3:-}" >> "$table"; }
skip() { skipped=$((skipped + 1)); row skipped "$1" "$2"; }
# check NAME COMMAND...: the command must succeed.
check() {
  local name=$1
  shift
  if timeout -k 5 300 "$@" > "$work/output" 2>&1; then
    passed=$((passed + 1)); row passed "$name"
  else
    failed=$((failed + 1)); row FAILED "$name" "$(tr "\r" "\n" < "$work/output" | tail -n 1 | cut -c 1-120)"
  fi
}
# known NAME REASON TEXT COMMAND...: it fails and prints TEXT, for a reason that is given. That it succeeds, or fails otherwise, would be news.
known() {
  local name=$1 reason=$2 text=$3
  shift 3
  if timeout -k 5 300 "$@" > "$work/output" 2>&1; then
    failed=$((failed + 1)); row FAILED "$name" "passes now; it was expected not to: $reason"
  elif grep -qF -- "$text" "$work/output"; then
    skip "$name" "$reason"
  else
    failed=$((failed + 1)); row FAILED "$name" "not as it was known: $(tr "\r" "\n" < "$work/output" | tail -n 1 | cut -c 1-120)"
  fi
}
spaceport() { "$binary" "$@" --control "$control"; }

# The server: a pool on two files, the virtual disk tank/disk, and TCP for what knows nothing else.
start() {
  truncate -s 1G "$work/disk1" "$work/disk2"
  "$binary" serve --state-dir "$work/state" --control "$control" --listen "unix:$socket" --listen tcp:127.0.0.1:0 > "$work/log" 2>&1 &
  server=$!
  for _ in $(seq 200); do
    spaceport pool list > /dev/null 2>&1 && break
    sleep 0.1
  done
  spaceport pool create tank "$work/disk1" "$work/disk2" > /dev/null && spaceport vdisk create tank/disk --size 256MiB > /dev/null
}

# --- Tools of libnbd, qemu, nbdkit and fio

nbd_info() {
  check 'nbdinfo' nbdinfo "$uri"
  check 'nbdinfo --json' nbdinfo --json "$uri"
  check 'nbdinfo --list' nbdinfo --list "nbd+unix:///?socket=$socket"
  check 'nbdinfo --map' nbdinfo --map "$uri"
  check 'nbdinfo --map --totals' nbdinfo --map --totals "$uri"
  local can
  for can in connect write flush fua trim zero multi-conn df cache fast-zero structured-reply; do
    check "nbdinfo --can $can" nbdinfo --can "$can" "$uri"
  done
}

# copy OPTION...: file -> URI -> file, compared.
copy() {
  rm -f "$work/copy"
  nbdcopy "$@" "$work/image" "$uri" && nbdcopy "$@" "$uri" "$work/copy" && cmp "$work/image" "$work/copy"
}
nbd_copy() {
  truncate -s 256M "$work/image"
  dd if=/dev/urandom of="$work/image" bs=1M count=40 seek=30 conv=notrunc status=none
  export -f copy
  export work uri
  local options
  for options in '' '--synchronous' '-C 1' '-C 8' '-R 1' '-R 128' '-T 1' '-T 4' '--request-size=4096' '--request-size=1048576' \
    '--request-size=33554432' '--allocated' '--flush' '--destination-is-zero' '-S 0' '--queue-size=1048576'; do
    if [ "$options" = --destination-is-zero ]; then
      check 'nbdcopy --destination-is-zero' bash -c "/usr/bin/python3 -m nbd -u \"$uri\" -c \"[h.zero(16 << 20, at << 24) for at in range(h.get_size() >> 24)]\" && copy $options"
    else
      check "nbdcopy $options" bash -c "copy $options"
    fi
  done
}

nbd_shell() {
  local prelude="h.set_strict_mode(0); h.connect_uri('$uri'); size = h.get_size()
def fails(call, *errors):
    try:
        call()
    except nbd.Error as error:
        assert error.errno in errors, error
        assert h.pread(512, 0) is not None
        return
    raise SystemExit('was done')
"
  sh_case() { check "nbdsh: $1" /usr/bin/python3 -m nbd -c "$prelude" -c "$2"; }
  sh_case 'read beyond the end' "fails(lambda: h.pread(1024, size - 512), 'EINVAL')"
  sh_case 'write beyond the end' "fails(lambda: h.pwrite(b'x' * 1024, size - 512), 'ENOSPC')"
  sh_case 'zero beyond the end' "fails(lambda: h.zero(1024, size - 512), 'ENOSPC')"
  sh_case 'trim beyond the end' "fails(lambda: h.trim(1024, size - 512), 'EINVAL')"
  sh_case 'offset of 64 bits' "fails(lambda: h.pread(512, (1 << 63) - 1), 'EINVAL')"
  sh_case 'unaligned' "fails(lambda: h.pread(1, 1), 'EINVAL')"
  sh_case 'unknown flags' "fails(lambda: h.pread(512, 0, flags=1 << 15), 'EINVAL')"
  sh_case 'flags of other commands' "fails(lambda: h.trim(512, 0, flags=nbd.CMD_FLAG_DF), 'EINVAL')"
  sh_case 'block status without contexts' "fails(lambda: h.block_status(512, 0, lambda *a: 0), 'EINVAL')"
  sh_case 'FUA on all that change data' "f = nbd.CMD_FLAG_FUA
h.pwrite(b'x' * 512, 0, f); h.zero(512, 0, f); h.trim(512, 0, f)"
}

qemu() {
  check 'qemu-io' qemu-io -f raw "$uri" -c 'write -P 1 0 1M' -c 'write -P 2 65024 3072' -c 'write -z 128k 64k' -c 'write -P 3 -f 100M 512' \
    -c 'discard 512k 256k' -c flush -c 'read -P 1 0 65024' -c 'read -P 2 65024 3072' -c 'read -P 0 128k 64k' -c 'read -P 3 100M 512' \
    -c 'aio_write -P 4 2M 1M' -c 'aio_write -P 5 4M 1M' -c aio_flush -c 'read -P 4 2M 1M' -c 'read -P 5 4M 1M'
  check 'qemu-img info' qemu-img info -f raw "$uri"
  check 'qemu-img map' qemu-img map -f raw --output=json "$uri"
  check 'qemu-img convert to qcow2' qemu-img convert -f raw -O qcow2 "$uri" "$work/image.qcow2"
  check 'qemu-img compare' qemu-img compare -f raw -F qcow2 "$uri" "$work/image.qcow2"
  check 'qemu-img convert -n -W' qemu-img convert -n -W -m 8 -f qcow2 -O raw "$work/image.qcow2" "$uri"
  check 'qemu-img compare after -W' qemu-img compare -f raw -F qcow2 "$uri" "$work/image.qcow2"
  check 'qemu-img bench, reads' qemu-img bench -c 20000 -d 32 -s 4096 -f raw "$uri"
  check 'qemu-img bench, writes and flushes' qemu-img bench -w -c 10000 -d 32 -s 16384 --flush-interval=64 -f raw "$uri"
}

checkwrite() {
  dd if=/dev/urandom of="$work/image" bs=1M count=256 status=none
  nbdcopy "$work/image" "$uri" 2> /dev/null
  check 'nbdkit checkwrite' nbdkit -U - --filter=checkwrite nbd "uri=$uri" --run "nbdcopy $work/image \$uri"
}

fio_runs() {
  local mode
  for mode in write randwrite randrw; do
    check "fio --rw=$mode --verify" fio --name=verify --ioengine=nbd "--uri=$uri" --rw=$mode --bsrange=4k-128k --blockalign=4k --size=96M \
      --iodepth=32 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --do_verify=1 --fsync=64
  done
}

# --- Suites from source packages

# fetch SUITE PACKAGE [WHAT...]: the unpacked source's folder, if it can be had; of all or only what is named of it, by tar's wildcards.
fetch() {
  local apt=$work/apt-$1 package=$2 listed
  listed=$(echo "${*:3}" | sed 's/^./--wildcards &/')
  mkdir -p "$apt/lists/partial" "$apt/source"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $1 main" > "$apt/list"
  local options=(-q -o "Dir::Etc::sourcelist=$apt/list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$apt/lists")
  (cd "$apt/source" && timeout 180 apt-get "${options[@]}" update && timeout 180 apt-get "${options[@]}" source --download-only "$package") \
    > "$work/fetch.log" 2>&1 || return 1
  # shellcheck disable=SC2086  # words; and tar expands the wildcards
  (cd "$apt/source" && set -f && tar xf "$(ls | grep "^${package}_.*orig.tar.*z$")" $listed) || return 1
  echo "$apt/source/$(ls "$apt/source" | grep "^$package-")"
}

nbd_tester() {
  local source data
  if ! source=$(fetch trixie nbd); then
    skip nbd-tester-client 'its source package cannot be had'
    return
  fi
  # Its manual pages are not built, whatever DB2M is. Without syslog the client does without the mode of inetd.
  if ! (cd "$source" && DB2M=: ./configure --without-libnl --enable-syslog && make -C tests/run nbd-tester-client && make nbd-client) \
    > "$work/build.log" 2>&1; then
    skip nbd-tester-client 'it cannot be built: see the packages of make deps-suites'
    return
  fi
  data=$source/tests/run
  local client=$data/nbd-tester-client certificates=$data/certs
  local port
  port=$(port_of "$control")
  # It goes over all of a disk in requests of 1 KiB.
  spaceport vdisk create tank/small --size 8MiB > /dev/null
  check 'nbd-tester-client, reads (unix)' "$client" -N tank/small -u "$socket"
  check 'nbd-tester-client, reads (cfg1 cfgnew)' "$client" -N tank/small 127.0.0.1 "$port"
  check 'nbd-tester-client, writes (write)' "$client" -N tank/small -w -u "$socket"
  check 'nbd-tester-client, flush (flush)' "$client" -N tank/small -w -f -u "$socket"
  check 'nbd-tester-client, oversized (cfgsize)' "$client" -N tank/small -o -u "$socket"
  check 'nbd-tester-client, handshake' "$client" -N tank/disk -h -u "$socket"
  # The traces were taken of a disk of 50 MiB that begins with zeros.
  spaceport vdisk create tank/trace --size 50MiB > /dev/null
  check 'nbd-tester-client, integrity' "$client" -N tank/trace -i -t "$data/integrity-test.tr" -u "$socket"
  spaceport vdisk delete tank/trace --yes > /dev/null
  spaceport vdisk create tank/trace --size 50MiB > /dev/null
  local huge='its requests are of up to 47.6 MiB; the largest payload here is 32 MiB, which is also what clients are told'
  known 'nbd-tester-client, integrityhuge' "$huge" 'Server errored a transaction' \
    "$client" -N tank/trace -i -t "$data/integrityhuge-test.tr" -u "$socket"
  spaceport vdisk create tank/read-only --size 50MiB > /dev/null
  spaceport export set tank/read-only --read-only yes > /dev/null
  check 'nbd-tester-client, read-only (rowrite)' "$client" -N tank/read-only -w -F -u "$socket"
  check 'nbd-tester-client, list' bash -c "'$source/nbd-client' -l 127.0.0.1 $port | grep -x tank/read-only && '$client' -N tank/read-only -u '$socket'"
  check 'nbd-tester-client, inetd' "$client" -N throwaway/disk -I -- "$binary" serve --inetd --throw-away 64MiB
  # With the certificates that lie beside it.
  local own=(-C "$certificates/client-cert.pem" -K "$certificates/client-key.pem" -A "$certificates/ca-cert.pem" -N throwaway/disk)
  local wrong=(-C "$certificates/selfsigned-cert.pem" -K "$certificates/selfsigned-key.pem" -N throwaway/disk)
  start_tls "$certificates"
  check 'nbd-tester-client, tls' "$client" "${own[@]}" -i -t "$data/integrity-test.tr" localhost "$tls_port"
  check 'nbd-tester-client, tlswrongcert' "$client" "${wrong[@]}" -t "$data/integrity-test.tr" -F localhost "$tls_port"
  start_tls "$certificates"
  known 'nbd-tester-client, tlshuge' "$huge" 'Server errored a transaction' \
    "$client" "${own[@]}" -i -t "$data/integrityhuge-test.tr" -H localhost 127.0.0.1 "$tls_port"
  skip 'nbd-tester-client, cfgmulti dirconfig' 'they are about the configuration of nbd-server'
  skip 'nbd-tester-client, tree rotree' 'they are about how nbd-server stores a disk'
}

# start_tls CERTIFICATES: in place of the last such server, with a disk of 50 MiB that begins with zeros, on $tls_port.
start_tls() {
  [ -n "$tls_server" ] && kill "$tls_server" && wait "$tls_server"
  "$binary" serve --control "$work/tls.sock" --listen tcp:127.0.0.1:0 --throw-away 50MiB --tls-certificates "$1" --tls-verify-peer \
    > "$work/tls-log" 2>&1 &
  tls_server=$!
  tls_port=$(port_of "$work/tls.sock")
}

# port_of CONTROL: of the server with this control socket, once it answers.
port_of() {
  local port
  for _ in $(seq 200); do
    port=$("$binary" status --json --control "$1" 2> /dev/null | grep -o -m 1 'tcp:127.0.0.1:[0-9]*') && break
    sleep 0.1
  done
  echo "${port##*:}"
}

libnbd_suite() {
  local source tests=$work/libnbd
  if ! source=$(fetch bookworm libnbd); then
    skip 'libnbd: interop, errors-server' 'its source package cannot be had'
    return
  fi
  mkdir -p "$tests/bin"
  # Its tests start nbdkit, and find our server in its place: "memory SIZE" is a disk of that size that begins with zeros.
  cat > "$tests/bin/nbdkit" <<END
#!/bin/bash
for word in "\$@"; do
  case \$word in --version) exit 0 ;; [0-9]*) size=\$word ;; esac
done
[ "\${size:-0}" -ge 1048576 ] || size=1048576
exec "$binary" serve --inetd --throw-away "\$size"
END
  chmod +x "$tests/bin/nbdkit"
  touch "$tests/config.h"
  build() {  # NAME SOURCE FLAG...
    local name=$1 file=$2
    shift 2
    cc -w -I"$tests" -I"$source/common/include" -I"$source/include" -I"$source/tests" "$@" -o "$tests/$name" "$source/$file" \
      "$source/tests/requires.c" -lnbd -lpthread -lgnutls > "$work/build.log" 2>&1
  }
  # not_built NAME: with what the compiler said
  not_built() { skip "libnbd: $1" "it cannot be built: $(grep -m 1 error "$work/build.log" | cut -c 1-100)"; }
  # Its tests look for keys in ../tests.
  in_place() { (cd "$tests/place" && PATH=$tests/bin:$PATH "$tests/$1"); }
  export -f in_place
  export tests
  run_built() { if build "$@"; then check "libnbd: $1" bash -c "in_place $1"; else not_built "$1"; fi; }  # NAME SOURCE FLAG...
  known_built() {  # NAME REASON TEXT
    if build "$1" "tests/$1.c"; then known "libnbd: $1" "$2" "$3" bash -c "in_place $1"; else not_built "$1"; fi
  }
  mkdir -p "$tests/place" "$tests/tests"
  local one="-DSERVER=\"$binary\"" nameless='-DEXPORT_NAME=""' inetd='"serve","--inetd","--throw-away","1MiB"'
  run_built interop interop/interop.c "$one" "-DSERVER_PARAMS=$inetd" "$nameless"
  run_built interop-activation interop/interop.c -DSOCKET_ACTIVATION=1 "$one" '-DSERVER_PARAMS="serve","--throw-away","1MiB"' "$nameless"
  # The keys are made as libnbd makes them for its own tests.
  if SRCDIR=$source/tests CERTTOOL=certtool bash "$source/tests/make-pki.sh" "$tests/tests/pki" > "$work/keys.log" 2>&1 &&
    psktool -u alice -p "$tests/tests/keys.psk" >> "$work/keys.log" 2>&1; then
    local kind flag keys
    for kind in certs psk; do
      if [ $kind = certs ]; then flag=-DCERTS=1 keys='"--tls-certificates","../tests/pki"'; else flag=-DPSK=1 keys='"--tls-psk","../tests/keys.psk"'; fi
      run_built interop-tls-$kind interop/interop.c -DHAVE_GNUTLS=1 $flag -DTLS_MODE=LIBNBD_TLS_REQUIRE "$one" "-DSERVER_PARAMS=$inetd,$keys" "$nameless"
      run_built interop-tls-$kind-allow-enabled interop/interop.c -DHAVE_GNUTLS=1 $flag -DTLS_MODE=LIBNBD_TLS_ALLOW "$one" \
        "-DSERVER_PARAMS=$inetd,$keys" "$nameless"
      run_built interop-tls-$kind-allow-fallback interop/interop.c -DHAVE_GNUTLS=1 $flag -DTLS_MODE=LIBNBD_TLS_ALLOW -DTLS_FALLBACK=1 "$one" \
        "-DSERVER_PARAMS=$inetd" "$nameless"
    done
  else
    skip 'libnbd: interop-tls-*' "there are no keys: $(tail -n 1 "$work/keys.log" | cut -c 1-100)"
  fi
  run_built list-exports interop/list-exports.c "$one" "-DSERVER_PARAMS=$inetd" '-DEXPORTS="throwaway/disk"' '-DDESCRIPTIONS=""'
  run_built socket-activation interop/socket-activation.c "$one" '-DSERVER_PARAMS="serve","--throw-away","1MiB"'
  local name
  for name in errors-server-unaligned errors-server-unknown-flags errors-client-oversize \
    errors-client-unknown-flags errors-client-zerosize errors-not-negotiating errors-connect-twice \
    errors-bad-cookie errors-pread-structured; do
    run_built $name tests/$name.c
  done
  known_built errors-server-invalid-offset 'libnbd does not send its offset of -1, which is no multiple of the advertised 512' 'not sent to server'
  known_built errors-server-zerosize 'a request for 0 bytes succeeds here; the protocol leaves it open' 'did not fail at server'
  skip 'libnbd: errors-server-unadvertised-cmd' 'there is no command here that is not advertised'
  skip 'libnbd: errors-multiple-disconnects' 'it is about a script that plays a server that fails'
  skip 'libnbd: dirty-bitmap, structured-read' 'they are about images of qemu-nbd'
}

# qemu's own block tests, of raw images by NBD. They start "qemu-nbd IMAGE" and find our server in its place, with a disk of the image's size that
# begins with zeros, as new images do.
qemu_iotests() {
  local source number
  if ! source=$(fetch bookworm qemu '*/tests/qemu-iotests/*' '*/python/*'); then
    skip qemu-iotests "qemu's source package cannot be had"
    return
  fi
  cat > "$work/qemu-nbd" <<END
#!/bin/bash
given=("\$@") pid= socket= image=
while [ \$# -gt 0 ]; do
  case \$1 in
    --pid-file=*) pid=\${1#*=} ;;
    -k) socket=\$2; shift ;;
    -f | -e | -x) shift ;;
    -*) ;;
    *) image=\$1 ;;
  esac
  shift
done
# What asks for something else, like --help, means qemu-nbd itself.
[ -n "\$socket" ] && [ -f "\$image" ] || exec qemu-nbd "\${given[@]}"
# The one before, which has the same socket, is to end first.
exec 9> "\$socket.lock"
flock 9
echo \$\$ > "\$pid"
exec "$binary" serve --control "\$socket.\$\$" --listen "unix:\$socket" --throw-away "\$(stat -c %s "\$image")" >> "\$image.log" 2>&1
END
  chmod +x "$work/qemu-nbd"
  iotest() {
    cd "$1" && QEMU_PROG=$(command -v qemu-system-x86_64) QEMU_IMG_PROG=$(command -v qemu-img) QEMU_IO_PROG=$(command -v qemu-io) \
      QSD_PROG=$(command -v qemu-storage-daemon) QEMU_NBD_PROG=$work/qemu-nbd ./check -raw -nbd "$2" 2>&1 | tee "$work/iotest"
    # A test that was not run is none that has failed, for them.
    grep -qx 'Passed all 1 iotests' "$work/iotest"
  }
  export -f iotest
  export work
  for number in 001 002 003 004 008 009 010 011 021 032 033 077 123 259; do
    check "qemu-iotests $number" bash -c "iotest '$source/tests/qemu-iotests' $number"
  done
  skip 'qemu-iotests 104, 241' 'their disks are of some 1000 bytes; the smallest that can be thrown away has 1 MiB'
  skip 'qemu-iotests that fail with qemu-nbd too' "094 119 143 145 147 181 184 194 205 208: Debian's qemu lacks -accel qtest; 162: and its ssh driver"
  skip 'qemu-iotests, all others' 'they are for other formats or protocols than raw by NBD, or bring a server of their own'
}

start || { echo "the server does not start: $(cat "$work/log")" >&2; exit 1; }
for part in $parts; do $part; done
skip 'blktests nbd' "not in Debian; its four tests start nbd-server by a configuration file and are about nbd.ko, with root and a machine's /dev/nbd0"
skip xfstests "not in Debian, and hours in a virtual machine that is emulated; make test-kernel has file systems, fio and fsck on /dev/nbdN"

kill -0 "$server" 2> /dev/null || { failed=$((failed + 1)); row FAILED 'the server' "$(tail -n 1 "$work/log")"; }
cat "$table"
echo "versions: $(dpkg-query -W -f '${Package} ${Version}, ' libnbd0 qemu-utils nbdkit fio 2> /dev/null)nbd $(ls "$work"/apt-trixie/source 2> /dev/null | sed -n 's/^nbd-//p')"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
