#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, tests, and the real window walked under a virtual display.
# `.ci/run` is this script. What lies in ../shared is tested too when it is there; a test says what it did not find.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never} CARGO_INCREMENTAL=0

step() { printf '\n== %s (%d s so far)\n' "$1" $SECONDS; }

step "packages"
bash tests/install.sh test

step "format"
cargo fmt --all --check

step "build"
cargo build --release --locked --workspace

step "tests"
cargo test --release --locked --workspace --no-fail-fast

step "lints"
cargo clippy --release --locked --workspace --all-targets -- -D warnings

step "the fuzz target"
# Not part of the workspace, so that nobody needs its engine to build; that it still compiles is worth knowing.
cargo check --locked --manifest-path core/grounding/fuzz/Cargo.toml --target-dir target/fuzz

step "the real window"
bash tests/window.sh target/window

for tool in cargo-deny typos; do
    if command -v $tool >/dev/null; then
        step "$tool"
        if [ $tool = typos ]; then typos; else cargo deny --offline check licenses bans sources; fi
    else
        echo "not found, skipped: $tool"
    fi
done
step "done"
