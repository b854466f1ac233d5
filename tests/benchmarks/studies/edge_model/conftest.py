"""Data with boxes around fractures, and a tiny `edge` to train on it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

EDGE = """
architecture = "edge"
batch_size = 8
localisation = 1.0
options = { filters = 0.125, depth = 0.3 }
preprocessing = { height = 32, width = 32 }
phases = [{ epochs = 1, learning_rate = 1e-3 }]
"""


@pytest.fixture
def write_marked_bones(write_bones: Callable[..., Path]) -> Callable[[Path], Path]:
    """Function that writes data with boxes, splits.csv and edge.toml into a folder."""

    def write(folder: Path) -> Path:
        data = write_bones(folder / "data", 10, splits=("train", "val"), height=64, width=64)
        paths = sorted(data.rglob("bone*.*"))
        fractured = [path.name for path in paths if path.parent.name == "fractured"]
        rows = [
            f"{path.relative_to(data).as_posix()},{int(path.name in fractured)},{path.parts[-3]},{path.stem}"
            for path in paths
        ]
        (folder / "splits.csv").write_text("\n".join(["path,label,split,group", *rows]) + "\n")
        (folder / "edge.toml").write_text(EDGE)
        coco = data / "Annotations/COCO JSON/COCO_fracture_masks.json"
        coco.parent.mkdir(parents=True)
        images = [{"id": k, "file_name": name, "width": 64, "height": 64} for k, name in enumerate(fractured)]
        boxes = [{"image_id": k, "bbox": [16, 16, 20, 30]} for k in range(len(fractured))]
        coco.write_text(json.dumps({"images": images, "annotations": boxes}))
        return data

    return write
