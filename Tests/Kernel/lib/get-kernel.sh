#!/bin/bash
# Fetch Debian's cloud kernel, without installing it, and make it ready for QEMU.
#
#   get-kernel.sh DIR
#
# Result: DIR/vmlinux  DIR/release  DIR/lib/modules/RELEASE/
# DIR appears only when it is complete; one that is there is left as it is (delete it to get a newer kernel).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
if [ $# != 1 ]; then
  sed -n '2,7p' "$0" >&2
  exit 2
fi
directory=$1
[ ! -d "$directory" ] || exit 0
meta_package=linux-image-cloud-amd64

mkdir -p "$(dirname "$directory")"
work=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# The meta package depends on linux-image-VERSION. In later Debian releases that one is empty too,
# and depends on linux-binary-VERSION (the kernel) and linux-modules-VERSION and linux-base-VERSION (the modules).
dependencies() { apt-cache depends --important "$1" | grep -oE "$2" || true; }
image_package=$(dependencies "$meta_package" 'linux-image-[0-9][^ >]*' | sort -V | tail -1)
if [ -z "$image_package" ]; then
  echo "get-kernel: apt knows no $meta_package; run 'apt-get update' as root, then try again" >&2
  exit 1
fi
mapfile -t part_packages < <(dependencies "$image_package" 'linux-(base|binary|modules)-[0-9][^ >]*')

mkdir "$work/packages"
if ! (cd "$work/packages" && timeout -k 5 300 apt-get -o APT::Sandbox::User=root -qq download "$image_package" "${part_packages[@]}"); then
  echo "get-kernel: could not download $image_package; run 'apt-get update' as root, then try again" >&2
  exit 1
fi
for package in "$work"/packages/*.deb; do dpkg -x "$package" "$work/root"; done

modules=$work/root/lib
[ ! -d "$work/root/usr/lib/modules" ] || modules=$work/root/usr/lib
mkdir "$work/ready" "$work/ready/lib"
mv "$modules/modules" "$work/ready/lib/modules"
release=$(basename "$(find "$work/ready/lib/modules" -mindepth 1 -maxdepth 1 -type d | sort -V | tail -1)")
depmod -b "$work/ready" "$release"
bzimage=$(find "$work/root/boot" "$work/ready/lib/modules/$release" -maxdepth 1 -name 'vmlinuz*' 2>/dev/null | head -1)
python3 "$here/extract-vmlinux.py" "$bzimage" "$work/ready/vmlinux"
echo "$release" > "$work/ready/release"
mv -T "$work/ready" "$directory"
