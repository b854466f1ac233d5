"""Where the model looked: its heat map over the image, as a picture.

The map is the class-activation map of the graph's second output (`fracture-edge export --heatmap`): the evidence
for a fracture in each cell of a coarse grid, over the largest. It tells where the network found what speaks for a
fracture. It does not outline one, and it is drawn for images without a fracture too.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fracture_edge.files import atomic_path
from fracture_edge.images.image_file import ImageFile
from fracture_edge.images.limits import MAX_PIXELS
from fracture_edge.preprocess import Preprocessing

if TYPE_CHECKING:
    from fracture_edge.prediction import Prediction

#: Longer side of an overlay's image; larger ones are made smaller.
LONGEST_SIDE = 1024
#: Anchors of cividis from 0 to 1, which looks alike with and without colour-blindness (Nunez, Anderton and
#: Renslow, PLoS ONE 13(7), 2018), as Matplotlib has them.
_COLOURS = np.array(
    [
        (0, 34, 78), (8, 51, 112), (53, 69, 108), (79, 87, 108), (102, 105, 112),
        (125, 124, 120), (148, 142, 119), (174, 163, 113), (200, 184, 102), (229, 207, 82), (254, 232, 56),
    ],
    np.float32,
)  # fmt: skip
#: Opacity of the largest evidence; none is transparent, so that the bone stays in sight.
_OPACITY = 0.6
_BAR, _MARGIN = 14, 8
_CAPTION = "where the model looked"


def overlay(
    grey: npt.NDArray[np.uint8], heatmap: npt.NDArray[np.floating], preprocessing: Preprocessing
) -> Image.Image:
    """Lay a heat map over the image that it belongs to, with a scale below.

    Args:
        grey: The image, uint8 [H, W].
        heatmap: Of the model's whole input, 0 to 1, [h, w].
        preprocessing: How the image became that input: letterbox bars are cut off the map.

    Returns:
        An RGB picture: the image in its own aspect, at most `LONGEST_SIDE` long, and a strip with the scale.
    """
    image = Image.fromarray(grey)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    values = over_image(heatmap, preprocessing, image.size)
    base = np.asarray(image, np.float32)[..., None]
    alpha = _OPACITY * values[..., None]
    blended = (1 - alpha) * base + alpha * _colour(values)
    return _with_scale(Image.fromarray(np.rint(blended).astype(np.uint8)))


class OverlayWriter:
    """Writes overlays as PNG files, under the names of the images, into one folder."""

    def __init__(self, preprocessing: Preprocessing, folder: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        """Write nothing yet.

        Args:
            preprocessing: Of the model.
            folder: Where the pictures go; made with the first.
            max_pixels: As the images were classified with.
        """
        self._preprocessing, self._folder, self._max_pixels = preprocessing, folder, max_pixels
        # Of the last image, which may have more frames.
        self._file: ImageFile | None = None
        self._path = ""

    def write(self, prediction: "Prediction") -> Path | None:
        """Write the overlay of an image, or of the frame that was classified.

        The file is read again, once for all frames that come one after the other, and decoded in a size that fits
        the picture.

        Args:
            prediction: Of a file; its `path` is what is read.

        Returns:
            The picture: ``NAME.png``, with the number of the frame ``NAME-frame07.png``; ``NAME-2.png`` and so on
            where that is taken. ``None`` where the prediction has no heat map.

        Raises:
            ImageError: The image cannot be read any more.
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
        picture = overlay(frame.pixels, prediction.heatmap, self._preprocessing)
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
    heatmap: npt.NDArray[np.floating], preprocessing: Preprocessing, size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """The part of a heat map that shows the image, without steps between cells.

    Args:
        heatmap: Of the model's whole input, [h, w].
        preprocessing: How the image became that input.
        size: Width and height of the image, or of a smaller copy.

    Returns:
        [height, width], upright as the image is.
    """
    rows, columns = heatmap.shape
    turned = preprocessing.turns(*size)
    upright = size[::-1] if turned else size
    left, top, width, height = preprocessing.frame(*upright)
    # In cells of the map; a box may begin and end within one.
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


def _colour(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """RGB, 0 to 255, of values from 0 to 1."""
    anchors = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(values, anchors, channel) for channel in _COLOURS.T]
    return np.stack(channels, axis=-1).astype(np.float32)


def _with_scale(picture: Image.Image) -> Image.Image:
    font = ImageFont.load_default()
    line = int(font.getbbox(_CAPTION)[3]) + 2
    strip = 2 * _MARGIN + _BAR + 2 * line
    framed = Image.new("RGB", (picture.width, picture.height + strip), "black")
    framed.paste(picture, (0, 0))
    width = max(1, picture.width - 2 * _MARGIN)
    bar = _colour(np.tile(np.linspace(0, 1, width, dtype=np.float32), (_BAR, 1)))
    framed.paste(Image.fromarray(bar.astype(np.uint8)), (_MARGIN, picture.height + _MARGIN))
    draw = ImageDraw.Draw(framed)
    below = picture.height + _MARGIN + _BAR
    draw.text((_MARGIN, below), "none", fill="white", font=font)
    draw.text((picture.width - _MARGIN, below), "most", fill="white", font=font, anchor="ra")
    draw.text((_MARGIN, below + line), _CAPTION, fill="white", font=font)
    return framed
