"""Overlays of a model's heat map on the image, as PNG files.

The heat map is the second output of the graph (`fracture-edge export --heatmap`): the evidence for a fracture in
each cell of a coarse grid, divided by the largest. It shows where the features of the network are like those of
fractures. It does not outline the fracture, and images without a fracture have a heat map too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fracture_edge.files import atomic_path
from fracture_edge.images.aspect import true_size
from fracture_edge.images.image_file import ImageFile
from fracture_edge.images.limits import MAX_PIXELS
from fracture_edge.preprocess import Preprocessing

if TYPE_CHECKING:
    from fracture_edge.prediction import Prediction

#: Maximum length of the longer side of an overlay in pixels; larger images are reduced.
LONGEST_SIDE = 1024
#: RGB colours of the cividis colour map at equal steps from 0 to 1, from Matplotlib. It looks alike with and
#: without colour vision deficiency (Nunez, Anderton and Renslow, PLoS ONE 13(7), 2018).
COLOURS = np.array(
    [
        (0, 34, 78), (8, 51, 112), (53, 69, 108), (79, 87, 108), (102, 105, 112),
        (125, 124, 120), (148, 142, 119), (174, 163, 113), (200, 184, 102), (229, 207, 82), (254, 232, 56),
    ],
    np.float32,
)  # fmt: skip
#: Opacity at the largest evidence. It is 0 without evidence, so that the bone stays visible.
OPACITY = 0.6
_BAR, _MARGIN = 14, 8
CAPTION = "signs of a fracture"


def overlay(
    grey: npt.NDArray[np.uint8],
    heatmap: npt.NDArray[np.floating],
    preprocessing: Preprocessing,
    aspect: float = 1.0,
) -> Image.Image:
    """Overlay a heat map on its image, with a colour scale below.

    Args:
        grey: Image, uint8 [H, W].
        heatmap: Heat map of the complete model input, [h, w], 0 to 1.
        preprocessing: Preprocessing of the model, to cut the letterbox bars off the map.
        aspect: Height of a pixel of `grey` divided by its width.

    Returns:
        RGB image in true proportions, at most `LONGEST_SIDE` pixels long, and a strip with the scale.
    """
    image, size = true_picture(grey, aspect)
    values = over_image(heatmap, preprocessing, image.size, turned=preprocessing.turns(*size))
    alpha = OPACITY * values
    dimmed = (1 - alpha) * np.asarray(image, np.float32)
    # One channel after the other: numpy is slow where the innermost axis has three elements.
    channels = [np.rint(dimmed + alpha * channel).astype(np.uint8) for channel in _colours(values)]
    return _with_scale(Image.merge("RGB", [Image.fromarray(channel) for channel in channels]))


def true_picture(grey: npt.NDArray[np.uint8], aspect: float = 1.0) -> tuple[Image.Image, tuple[float, float]]:
    """Show an image in true proportions, at most `LONGEST_SIDE` pixels long.

    Args:
        grey: Image, uint8 [H, W].
        aspect: Height of a pixel of `grey` divided by its width.

    Returns:
        Grey image, and the size of the original in square pixels, (width, height).
    """
    image = Image.fromarray(grey)
    size = true_size(image.width, image.height, aspect)
    if size != image.size:
        image = image.resize(_longest(size, min(LONGEST_SIDE, max(image.size))))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image, size


class OverlayWriter:
    """Writer of overlays as PNG files, named after the images, into one folder."""

    def __init__(self, preprocessing: Preprocessing, folder: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        """Prepare the writer; nothing is written yet.

        Args:
            preprocessing: Preprocessing of the model.
            folder: Folder for the overlays; created with the first.
            max_pixels: Maximum number of pixels that the images were classified with.
        """
        self._preprocessing, self._folder, self._max_pixels = preprocessing, folder, max_pixels
        # The last file stays open, because it may have more frames.
        self._file: ImageFile | None = None
        self._path = ""

    def write(self, prediction: "Prediction") -> Path | None:
        """Write the overlay of a classified image or frame.

        The file is read again, once for all of its consecutive frames, and decoded at a size that fits the
        overlay.

        Args:
            prediction: Prediction for a file, which is read from its `path`.

        Returns:
            Path of the overlay: ``NAME.png``, or ``NAME-frame07.png`` for a file with several frames;
            ``NAME-2.png`` and so on if the file exists. ``None`` if the prediction has no heat map.

        Raises:
            ImageError: The image can no longer be read.
        """
        if prediction.heatmap is None:
            return None
        if self._file is None or self._path != prediction.path:
            size = (LONGEST_SIDE, LONGEST_SIDE)
            self._file = ImageFile(prediction.path, model_size=size, max_pixels=self._max_pixels)
            self._path = prediction.path
        frame = self._file.read(prediction.frame - 1)
        if prediction.frame == prediction.frames:
            self._file = None
        picture = overlay(frame.pixels, prediction.heatmap, self._preprocessing, frame.aspect)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._free_path(prediction)
        with atomic_path(path) as temporary:
            picture.save(temporary, "PNG")
        return path

    def _free_path(self, prediction: "Prediction") -> Path:
        stem = Path(prediction.path).name or "image"
        if prediction.frames > 1:
            stem += f"-frame{prediction.frame:0{len(str(prediction.frames))}}"
        path = self._folder / f"{stem}.png"
        number = 1
        while path.exists():
            number += 1
            path = self._folder / f"{stem}-{number}.png"
        return path


def over_image(
    heatmap: npt.NDArray[np.floating],
    preprocessing: Preprocessing,
    size: tuple[int, int],
    *,
    turned: bool | None = None,
) -> npt.NDArray[np.float32]:
    """Resize a heat map to its image: cut off the letterbox bars, undo the rotation, interpolate bilinearly.

    Args:
        heatmap: Heat map of the complete model input, [h, w].
        preprocessing: Preprocessing of the model.
        size: Size of the image or of a reduced copy, (width, height) in square pixels.
        turned: Whether the preprocessing turned the image; by `size` if ``None``, which of a reduced copy of a
            nearly square image may not tell.

    Returns:
        Heat map over the image, float32 [height, width], 0 to 1.
    """
    rows, columns = heatmap.shape
    if turned is None:
        turned = preprocessing.turns(*size)
    upright = size[::-1] if turned else size
    left, top, width, height = preprocessing.frame(*upright)
    # Box in units of cells of the map; it may begin and end within a cell.
    box = (
        left * columns / preprocessing.width,
        top * rows / preprocessing.height,
        (left + width) * columns / preprocessing.width,
        (top + height) * rows / preprocessing.height,
    )
    cells = Image.fromarray(np.asarray(heatmap, np.float32))
    spread = cells.resize(upright, Image.Resampling.BILINEAR, box=box)
    if turned:
        spread = spread.transpose(Image.Transpose.ROTATE_270)
    return np.clip(np.asarray(spread, np.float32), 0, 1)


def _longest(size: tuple[float, float], side: int) -> tuple[int, int]:
    """Return a size in whole pixels of the same proportions, whose longer side is given."""
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _colours(values: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """Map values from 0 to 1 to the red, green and blue of their colours, each from 0 to 255."""
    anchors = np.linspace(0, 1, len(COLOURS))
    return (np.interp(values, anchors, channel).astype(np.float32) for channel in COLOURS.T)


def _with_scale(picture: Image.Image) -> Image.Image:
    font = ImageFont.load_default()
    line = int(font.getbbox(CAPTION)[3]) + 2
    strip = 2 * _MARGIN + _BAR + 2 * line
    framed = Image.new("RGB", (picture.width, picture.height + strip), "black")
    framed.paste(picture, (0, 0))
    width = max(1, picture.width - 2 * _MARGIN)
    bar = np.stack(list(_colours(np.tile(np.linspace(0, 1, width, dtype=np.float32), (_BAR, 1)))), axis=-1)
    framed.paste(Image.fromarray(bar.astype(np.uint8)), (_MARGIN, picture.height + _MARGIN))
    draw = ImageDraw.Draw(framed)
    below = picture.height + _MARGIN + _BAR
    draw.text((_MARGIN, below), "none", fill="white", font=font)
    draw.text((picture.width - _MARGIN, below), "most", fill="white", font=font, anchor="ra")
    draw.text((_MARGIN, below + line), CAPTION, fill="white", font=font)
    return framed
