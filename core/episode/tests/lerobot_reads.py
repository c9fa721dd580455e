"""Loads a dataset with LeRobot's own loader and prints what it found as JSON.

    python lerobot_reads.py DIR

Needs `pip install lerobot` (0.4 or newer, for LeRobotDataset v3.0).
"""

import json
import os
import sys
import tempfile

# The loader must take everything from the folder, and leave nothing behind.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="lerobot-reads-")

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402


def main() -> None:
    root = sys.argv[1]
    dataset = LeRobotDataset("local/dataset", root=root)
    first, last = dataset[0], dataset[len(dataset) - 1]
    print(
        json.dumps(
            {
                "episodes": dataset.num_episodes,
                "frames": len(dataset),
                "fps": dataset.fps,
                "cameras": dataset.meta.camera_keys,
                "shapes": {key: list(value.shape) for key, value in first.items() if hasattr(value, "shape")},
                "task": last["task"],
                "action": last["action"].tolist(),
                "timestamp": last["timestamp"].item(),
                "first_pixel": [round(v * 255) for v in first[dataset.meta.camera_keys[0]][:, 0, 0].tolist()],
                "stats": {key: sorted(value) for key, value in dataset.meta.stats.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
