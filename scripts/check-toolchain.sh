#!/bin/bash
# Building needs Swift 6.2 or newer.
swift=${1:-swift}
where="Get a toolchain for Debian 12 from https://www.swift.org/install/linux/ and put its usr/bin in PATH (or run make SWIFT=/path/to/swift)."
if ! command -v "$swift" > /dev/null; then
    echo "spaceport: building needs Swift 6.2 or newer, and there is no '$swift' here. $where" >&2
    exit 1
fi
if ! said=$("$swift" --version 2>&1); then
    echo "spaceport: '$swift' does not start; '$swift --version' said:" >&2
    head -5 <<< "${said:-(nothing)}" | sed 's/^/    /' >&2
    echo "If it misses a library: 'make deps' installs those that a toolchain for Debian 12 needs. Is this one made for Debian 12? $where" >&2
    exit 1
fi
version=$(grep -oE 'Swift version [0-9]+\.[0-9]+' <<< "$said" | grep -oE '[0-9]+\.[0-9]+' | head -1)
if [ -z "$version" ] || [ "$(printf '%s\n6.2\n' "$version" | sort -V | head -1)" != 6.2 ]; then
    echo "spaceport: building needs Swift 6.2 or newer; '$swift --version' said:" >&2
    head -5 <<< "${said:-(nothing)}" | sed 's/^/    /' >&2
    echo "$where" >&2
    exit 1
fi
