#!/usr/bin/env bash
# Installs what is missing, builds Gazelab and opens the workbench on the built-in demo.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tests/install.sh window
cargo build --release --locked --workspace
exec target/release/gazelab --demo
