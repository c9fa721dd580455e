#!/usr/bin/env bash
# Installs the Debian packages that Gazelab needs and that are missing. Does nothing when all are there.
#   tests/install.sh window   what the window needs (an X11 or Wayland session draws it)
#   tests/install.sh test     the same, plus a virtual display, and a C++ compiler for the engine of the fuzz target
set -euo pipefail

packages=(gcc libc6-dev libx11-6 libx11-xcb1 libxcb1 libxcursor1 libxi6 libxkbcommon0 libxkbcommon-x11-0 libxrandr2 libvulkan1 mesa-vulkan-drivers)
[ "${1:-window}" = test ] && packages+=(g++ poppler-utils xauth xvfb)

command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup, then run this again" >&2; exit 1; }
command -v apt-get >/dev/null || exit 0 # not Debian: the linker or the window names what it misses

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing ${missing[*]}"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
