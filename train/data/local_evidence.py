"""Augmentation whose label follows the fracture: covered boxes and windows of the image.

A network can tell fractured images by their context: pose, cast, view. Here the context stays and the fracture goes:
an image whose marked fractures are covered, or a window of it beside them, counts as not fractured.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

#: Side of a window as a share of the image's.
_WINDOW = (0.35, 0.8)
#: Share of the marked pixels that a window must hold to count as fractured.
_HELD = 0.7
#: Number of windows tried until one holds enough of the marked pixels, or none.
_TRIES = 8
#: Sides of the boxes covered in an image without fracture, as shares of the image's: 80 % of FracAtlas's boxes.
_BOX = (0.08, 0.35)


class LocalEvidence:
    """Random covers and windows in a share of a batch; the same for the same seed, epoch and batch."""

    def __init__(self, share: float, seed: int) -> None:
        """Create the augmentation.

        Args:
            share: Share of the images that are changed, 0 to 1.
            seed: Random seed, used together with the numbers of epoch and batch.
        """
        self._share, self._seed = share, seed

    def __call__(
        self, images: Pixels, fractured: npt.NDArray[np.bool_], epoch: int, batch: int
    ) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Return changed copies and whether they are fractured.

        Args:
            images: Images, uint8 [N, H, W, 2]; the second channel is the mask of the fractures.
            fractured: Whether each image is fractured, [N].
            epoch: Number of the epoch.
            batch: Number of the batch.
        """
        random = np.random.default_rng([self._seed, epoch, batch])
        changed, truth = images.copy(), fractured.copy()
        for row in range(len(images)):
            if random.random() >= self._share or (fractured[row] and not images[row, ..., 1].any()):
                continue
            if random.random() < 0.5:
                changed[row], truth[row] = _window(images[row], bool(fractured[row]), random)
            else:
                changed[row], truth[row] = _cover(images[row], bool(fractured[row]), random)
        return changed, truth


def _window(image: Pixels, fractured: bool, random: np.random.Generator) -> tuple[Pixels, bool]:
    height, width = image.shape[:2]
    marked = image[..., 1] > 127
    wanted = random.random() < 0.5
    for _ in range(_TRIES):
        side = random.uniform(*_WINDOW)
        rows, columns = round(side * height), round(side * width)
        top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
        if fractured and wanted:
            ys, xs = np.nonzero(marked)
            pick = int(random.integers(len(ys)))
            top = int(np.clip(ys[pick] - random.integers(rows), 0, height - rows))
            left = int(np.clip(xs[pick] - random.integers(columns), 0, width - columns))
        window = image[top : top + rows, left : left + columns]
        held = marked[top : top + rows, left : left + columns].sum() / max(1, marked.sum()) if fractured else 0.0
        if (fractured and 0 < held < _HELD) or window[..., 0].std() < 10:
            continue
        size = (width, height)
        grey = np.asarray(Image.fromarray(window[..., 0]).resize(size, Image.Resampling.BICUBIC))
        mask = np.asarray(Image.fromarray(window[..., 1]).resize(size, Image.Resampling.NEAREST))
        return np.stack([grey, mask], axis=-1), bool(held > 0)
    return image, fractured


def _cover(image: Pixels, fractured: bool, random: np.random.Generator) -> tuple[Pixels, bool]:
    height, width = image.shape[:2]
    changed = image.copy()
    marked = image[..., 1] > 127
    found = [box for box in ndimage.find_objects(ndimage.label(marked)[0]) if box]
    boxes = [(b[0].start, b[0].stop, b[1].start, b[1].stop) for b in found]
    if fractured and random.random() < 0.6:
        for box in boxes:
            _fill(changed[..., 0], box, random)
        changed[..., 1] = 0
        return changed, False
    for _ in range(max(1, len(boxes))):
        for _ in range(_TRIES):
            rows, columns = (max(4, round(random.uniform(*_BOX) * side)) for side in (height, width))
            top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
            if not marked[top : top + rows, left : left + columns].any():
                _fill(changed[..., 0], (top, top + rows, left, left + columns), random)
                break
    return changed, fractured


def _fill(grey: Pixels, box: Box, random: np.random.Generator) -> None:
    """Cover a box, in place, by the grey of its rim or by the texture of a neighbouring box."""
    top, bottom, left, right = box
    inside = grey[top:bottom, left:right]
    rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    level = float(rim.mean())
    rows, columns = inside.shape
    moves = [(rows, 0), (-rows, 0), (0, columns), (0, -columns)]
    random.shuffle(moves)
    if random.random() < 0.6:
        for down, across in moves:
            if (
                top + down >= 0
                and bottom + down <= grey.shape[0]
                and 0 <= left + across <= grey.shape[1] - columns
            ):
                beside = grey[top + down : bottom + down, left + across : right + across].astype(np.float32)
                texture = beside - beside.mean() + level
                edge = _feather(rows, columns)
                grey[top:bottom, left:right] = np.clip(edge * texture + (1 - edge) * inside, 0, 255)
                return
    grey[top:bottom, left:right] = round(level)


def _feather(rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Return weights that rise from 0 at the rim to 1 within a tenth of the sides, [rows, columns]."""

    def ramp(count: int) -> npt.NDArray[np.float32]:
        from_rim = np.minimum(np.arange(count) + 1, np.arange(count)[::-1] + 1)
        return np.clip(from_rim / max(1.0, count / 10), 0, 1).astype(np.float32)

    return np.minimum(ramp(rows)[:, np.newaxis], ramp(columns)[np.newaxis])
