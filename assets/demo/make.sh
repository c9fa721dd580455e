#!/usr/bin/env bash
# Makes everything in this folder: trains the action-only nano policy on the processor, measures it in closed loop, and records
# the episodes that the demo opens with. On two cores the training takes 15 minutes.
#
#   bash assets/demo/make.sh [RUN_DIR]
set -euo pipefail
cd "$(dirname "$0")/../.."
run=${1:-target/demo-run}
steps=${STEPS:-5400}
cargo build --release --locked --workspace
gazelab=target/release/gazelab
here=assets/demo

[ -d "$run" ] || $gazelab train --size nano --objective action --steps "$steps" --seed 1 --device cpu \
    --data 'tabletop:object+spatial+goal?episodes=6000&env=A&seed=1' --out "$run"
$gazelab run status "$run" --json | grep -q Finished || $gazelab train "$run"

checkpoint=$(ls -d "$run"/checkpoints/step-* | tail -n 1)
rm -rf $here/model $here/recording
mkdir -p $here/model
cp "$checkpoint/model.json" "$checkpoint/model.safetensors" $here/model/
$gazelab data record --suite object+spatial+goal --episodes 12 --env A --seed 1000 --no-noise --out $here/recording

for suite in object spatial goal; do
    $gazelab eval "$run" --suite $suite --episodes 100 --seed 7 --swapped
done
