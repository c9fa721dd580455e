#!/usr/bin/env bash
# Opens the real window under Xvfb with the software Vulkan driver, walks every pane in both themes and keeps the pictures in the
# folder given. Fails on a panic, on an error and on a window that does not come up.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/window}
rm -rf "$out"
mkdir -p "$out"

icd=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json 2>/dev/null | head -n 1)
[ -n "$icd" ] || { echo "no software Vulkan driver: run tests/install.sh test" >&2; exit 1; }
runtime=$(mktemp -d)
trap 'rm -rf "$runtime"' EXIT

run() {
    env -u WAYLAND_DISPLAY XDG_RUNTIME_DIR="$runtime" XDG_CONFIG_HOME="$runtime/config" XDG_DATA_HOME="$runtime/data" \
        VK_ICD_FILENAMES="$icd" VK_DRIVER_FILES="$icd" LIBGL_ALWAYS_SOFTWARE=1 \
        timeout 300 xvfb-run -a -s "-screen 0 $1x24" target/release/gazelab walk --size "$1" --out "$out/$1"
}
run 1280x800 2>&1 | tee "$out/log.txt"
run 1920x1080 2>&1 | tee -a "$out/log.txt"
if grep -q "panicked at" "$out/log.txt"; then
    echo "the window panicked" >&2
    exit 1
fi
ls "$out"/*/*.png >/dev/null
