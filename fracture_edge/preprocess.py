"""From a grey image to the model's input, as the model's own metadata says.

Training, calibration, the export check, the benchmark and `classify` all use `Preprocessing`; there is no
second code path that could drift away from this one. Scaling and normalisation are not here: they are
inside the graph, which takes grey uint8.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import ModelError
from fracture_edge.images.image_file import ImageFile, ImageSource, Picture
from fracture_edge.images.limits import MAX_PIXELS

Framing = Literal["letterbox", "stretch"]
Orientation = Literal["as_is", "portrait"]
Filter = Literal["box", "bilinear", "bicubic", "lanczos"]

_RESAMPLING = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Framed(NamedTuple):
    """A picture as a model sees it, and what was known of it before.

    Attributes:
        pixels: uint8 [height, width, 1].
        content: The part of them that shows the picture, uint8 [h, w].
        side: Pixels of the shorter side before it was resized, as decoded.
        colour: Share of coloured pixels, 0 to 1.
        frame: Which of the file's frames or pages this is, from 0.
        frames: How many the file says it holds.
    """

    pixels: npt.NDArray[np.uint8]
    content: npt.NDArray[np.uint8]
    side: int
    colour: float = 0.0
    frame: int = 0
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a grey image becomes the input of one model.

    Attributes:
        height: Rows of the input.
        width: Columns of the input.
        framing: ``letterbox`` keeps the aspect ratio and pads; ``stretch`` does not.
        filter: Pillow's resampling filter. All of them are area-aware when they shrink, and use integer
            arithmetic on 8-bit pixels, so every machine gets the same result.
        pad: Grey level (0 to 255) of the letterbox bars.
        orientation: ``portrait`` turns an image that is wider than high by 90 degrees, anticlockwise, so that all
            fill an upright input alike; ``as_is`` turns none.
    """

    height: int
    width: int
    framing: Framing = "letterbox"
    filter: Filter = "bicubic"
    pad: int = 0
    orientation: Orientation = "as_is"

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise ModelError(f"preprocessing: size {self.height}x{self.width} is not between 1 and 4096")
        if self.framing not in get_args(Framing):
            raise ModelError(f"preprocessing: framing {self.framing!r} is none of {get_args(Framing)}")
        if self.filter not in get_args(Filter):
            raise ModelError(f"preprocessing: filter {self.filter!r} is none of {get_args(Filter)}")
        if self.orientation not in get_args(Orientation):
            raise ModelError(f"preprocessing: orientation {self.orientation!r} is none of {get_args(Orientation)}")
        if not 0 <= self.pad <= 255:
            raise ModelError(f"preprocessing: pad {self.pad} is not between 0 and 255")

    def __call__(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize and frame one image.

        Args:
            grey: uint8, shape [H, W].

        Returns:
            uint8, shape [height, width, 1].
        """
        image = Image.fromarray(grey)
        if self.turns(image.width, image.height):
            image = image.transpose(Image.Transpose.ROTATE_90)
        left, top, width, height = self.frame(image.width, image.height)
        resized = np.asarray(self._resize(image, width, height))
        if (width, height) == (self.width, self.height):
            return resized[..., np.newaxis]
        framed = np.full((self.height, self.width, 1), self.pad, np.uint8)
        framed[top : top + height, left : left + width, 0] = resized
        return framed

    def turns(self, width: int, height: int) -> bool:
        """Whether an image of this size is turned by 90 degrees, anticlockwise, before it is framed."""
        return self.orientation == "portrait" and width > height

    def frame(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Where an image of this size, turned already, lies in the input: left, top, width, height in pixels."""
        if self.framing == "stretch":
            return 0, 0, self.width, self.height
        scale = min(self.width / width, self.height / height)
        across = min(self.width, max(1, round(width * scale)))
        down = min(self.height, max(1, round(height * scale)))
        return (self.width - across) // 2, (self.height - down) // 2, across, down

    def _resize(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), _RESAMPLING[self.filter])

    def load(self, source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
        """Decode `source` and preprocess it: uint8, shape [height, width, 1].

        Args:
            source: See `fracture_edge.images.image_file.load_image`, like the errors.
            max_pixels: More than this are refused before they are decoded.

        Raises:
            ImageError: The image cannot be used.
        """
        return self.load_framed(source, max_pixels=max_pixels).pixels

    def load_framed(self, source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Framed:
        """As `load`, with what else is known of the picture, which is the first that the file holds."""
        return self.framed(self.open(source, max_pixels=max_pixels).read())

    def open(self, source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> ImageFile:
        """Open `source` to read its frames one by one for `framed`; otherwise as `load`."""
        return ImageFile(source, model_size=(self.height, self.width), max_pixels=max_pixels)

    def framed(self, picture: Picture) -> Framed:
        """Preprocess one frame, and keep what else is known of it."""
        height, width = picture.pixels.shape
        side = min(height, width)
        if self.turns(width, height):
            height, width = width, height
        left, top, across, down = self.frame(width, height)
        pixels = self(picture.pixels)
        return Framed(
            pixels=pixels,
            content=pixels[top : top + down, left : left + across, 0],
            side=side,
            colour=picture.colour,
            frame=picture.frame,
            frames=picture.frames,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the model's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_dict`.

        Raises:
            ModelError: A key is missing or unknown, or a value is out of range.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"preprocessing: {error}") from error
