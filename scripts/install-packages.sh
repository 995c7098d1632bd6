#!/bin/bash
# Installs those of the named Debian packages that are missing; asks for root only when there are any.
set -euo pipefail
missing=()
for package; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get > /dev/null; then
    echo "spaceport: these Debian packages are needed and there is no apt-get: ${missing[*]}. Install their like by hand." >&2
    exit 1
fi
root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || { echo "spaceport: as root, run: apt-get install ${missing[*]}" >&2; exit 1; }
    root=(sudo)
fi
echo "Installing: ${missing[*]}"
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
