#!/bin/bash
# Building needs Swift 6.2 or newer.
swift=${1:-swift}
where="Get a toolchain for Debian 12 from https://www.swift.org/install/linux/ and put its usr/bin in PATH (or run make SWIFT=/path/to/swift)."
if ! command -v "$swift" > /dev/null; then
    echo "spaceport: building needs Swift 6.2 or newer, and there is no '$swift' here. $where" >&2
    exit 1
fi
version=$("$swift" --version 2>/dev/null | grep -oE 'Swift version [0-9]+\.[0-9]+' | grep -oE '[0-9]+\.[0-9]+')
if [ -z "$version" ] || [ "$(printf '%s\n6.2\n' "$version" | sort -V | head -1)" != 6.2 ]; then
    echo "spaceport: building needs Swift 6.2 or newer; '$swift' is ${version:-of an unknown version}. $where" >&2
    exit 1
fi
