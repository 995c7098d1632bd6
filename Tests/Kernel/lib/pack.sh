# shellcheck shell=bash
# Sourced. Copies programs, with their shared libraries, and kernel modules into a tree, and makes a tree into a cpio archive.

# The canonical name of a file's directory (/lib becomes /usr/lib), so that a tree packed later can be unpacked over an earlier one.
canonical_path() { printf '%s/%s\n' "$(readlink -f "$(dirname "$1")")" "$(basename "$1")"; }

# pack_file ROOT FILE: one file, symbolic links followed, at its canonical path
pack_file() {
  local to
  to=$1$(canonical_path "$2")
  [ -e "$to" ] || install -D -m "$(stat -Lc %a "$2")" "$2" "$to"
}

# pack_libraries ROOT FILE: the shared libraries FILE needs; a script or static program needs none, and ldd says so by failing
pack_libraries() {
  local library
  for library in $(ldd "$2" 2>/dev/null | grep -oE '/[^ ]+\.so[^ ]*' | sort -u); do
    pack_file "$1" "$library"
  done
}

# pack_program ROOT PROGRAM: a program by path or by name, at its own path
pack_program() {
  local path
  path=$(command -v "$2") || {
    echo "pack: there is no program $2 here" >&2
    return 1
  }
  pack_file "$1" "$path"
  pack_libraries "$1" "$path"
}

# pack_modules ROOT KERNEL_DIR MODULE...: modules, what they need, and the index modprobe reads
pack_modules() {
  local root=$1 kernel=$2 release module file
  shift 2
  release=$(cat "$kernel/release")
  for module; do
    # lines "builtin NAME" carry no path: nothing to copy
    modprobe -d "$kernel" -S "$release" --show-depends "$module" | sed -n 's|^insmod \([^ ]*\).*|\1|p'
  done | sort -u | while read -r file; do
    install -D -m 644 "$file" "$root/usr/lib/modules/$release/${file#*"/$release/"}"
  done
  cp "$kernel/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$root/usr/lib/modules/$release/"
  depmod -b "$root" "$release"
}

# make_cpio DIR: the archive on stdout, owned by root whoever runs this; uncompressed, since unpacking costs emulated CPU time
make_cpio() { (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc -R 0:0 --quiet); }
