"""Compress what `build.mjs` built for the wheel: xz takes 40 % less than the wheel's own compression."""

import lzma
from pathlib import Path

BUILT = Path(__file__).resolve().parents[1] / "fracture_edge" / "web" / "built"

for path in sorted(BUILT.iterdir()):
    if path.suffix != ".xz":
        path.with_name(f"{path.name}.xz").write_bytes(
            lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME)
        )
        path.unlink()
