#!/usr/bin/env bash
# Makes the pictures of the README and of the welcome screen out of the real window, as tests/window.sh walks it.
# Needs a built program and Python with Pillow.
set -euo pipefail
cd "$(dirname "$0")/../.."
walk=target/window
[ -f "$walk/1920x1080/dark-demo-attention.png" ] || bash tests/window.sh "$walk"
python3 - "$walk/1920x1080" <<'PYTHON'
import sys
from PIL import Image

walk = sys.argv[1]
Image.open(f"{walk}/dark-demo-attention.png").convert("RGB").save("assets/pictures/workbench.png", optimize=True)
# Left, top and width of each card's picture; a card is 224 x 136 points.
cards = {
    "demo": ("dark-demo-attention", 695, 238, 284),
    "dataset": ("dark-demo-attention", 1546, 760, 170),
    "run": ("dark-demo-runs", 352, 212, 486),
    "capture": ("dark-demo-attention", 366, 674, 206),
}
for name, (picture, left, top, width) in cards.items():
    box = (left, top, left + width, top + width * 136 // 224)
    card = Image.open(f"{walk}/{picture}.png").convert("RGB").crop(box)
    card.resize((448, 272), Image.Resampling.LANCZOS).save(f"assets/demo/card-{name}.png", optimize=True)
PYTHON
