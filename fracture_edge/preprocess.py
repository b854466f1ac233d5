"""Preprocessing from a grey image to the model's input, as the model's metadata specifies.

Training, calibration, the export check, the benchmark and `classify` all use `Preprocessing`, so there is no
second implementation that could differ from it. Scaling and normalisation of the values are part of the graph,
which takes grey uint8.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import ModelError
from fracture_edge.images.aspect import true_size
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
    """Model input of one image, with properties of the image before preprocessing.

    Attributes:
        pixels: Model input, uint8 [height, width, 1].
        content: Part of `pixels` that shows the image, without letterbox bars, uint8 [h, w].
        side: Length of the shorter side as decoded, before resizing, in pixels.
        colour: Share of coloured pixels, 0 to 1.
        frame: Index of the frame or page in the file, from 0.
        frames: Number of frames or pages that the file states.
        aspect: Height of a pixel of the image divided by its width, as the file states it.
        body_part: Body part that a DICOM header states, in upper case; empty if it is not stated.
    """

    pixels: npt.NDArray[np.uint8]
    content: npt.NDArray[np.uint8]
    side: int
    colour: float = 0.0
    frame: int = 0
    frames: int = 1
    aspect: float = 1.0
    body_part: str = ""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resizing and framing of a grey image to the input of a model.

    Call an instance with a grey image, or use `load` to read a file.

    Attributes:
        height: Height of the model input in pixels, 1 to 4096.
        width: Width of the model input in pixels, 1 to 4096.
        framing: Framing mode: ``letterbox`` keeps the aspect ratio and pads, ``stretch`` distorts the image to
            fill the input.
        filter: Resampling filter of Pillow: ``box``, ``bilinear``, ``bicubic`` or ``lanczos``. When shrinking, all
            of them weigh the complete area, and on 8-bit pixels they use integer arithmetic, so every machine
            gives the same result. The width is resized first, then the height.
        pad: Grey level of the letterbox bars, 0 to 255.
        orientation: Orientation mode: ``portrait`` rotates an image that is wider than high by 90 degrees
            anticlockwise, so that every image fills an upright input; ``as_is`` rotates none.

    Raises:
        ModelError: A value is not one of the above.
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
            raise ModelError(_choice_error("framing", self.framing, get_args(Framing)))
        if self.filter not in get_args(Filter):
            raise ModelError(_choice_error("filter", self.filter, get_args(Filter)))
        if self.orientation not in get_args(Orientation):
            raise ModelError(_choice_error("orientation", self.orientation, get_args(Orientation)))
        if not 0 <= self.pad <= 255:
            raise ModelError(f"preprocessing: pad {self.pad} is not between 0 and 255")

    def __call__(self, grey: npt.NDArray[np.uint8], aspect: float = 1.0) -> npt.NDArray[np.uint8]:
        """Resize and frame one image.

        Args:
            grey: Grey image of any size, uint8 [H, W].
            aspect: Height of a pixel divided by its width. The image is framed in its true proportions, by one
                resize; as if pixels were square if `fracture_edge.images.aspect.is_plausible` does not hold.

        Returns:
            Model input, uint8 [height, width, 1].
        """
        image = Image.fromarray(grey)
        size = true_size(image.width, image.height, aspect)
        if self.turns(*size):
            image, size = image.transpose(Image.Transpose.ROTATE_90), size[::-1]
        left, top, width, height = self.frame(*size)
        resized = np.asarray(self._resize(image, width, height))
        if (width, height) == (self.width, self.height):
            return resized[..., np.newaxis]
        framed = np.full((self.height, self.width, 1), self.pad, np.uint8)
        framed[top : top + height, left : left + width, 0] = resized
        return framed

    def turns(self, width: float, height: float) -> bool:
        """Return whether an image of this size is rotated by 90 degrees anticlockwise before it is framed."""
        return self.orientation == "portrait" and width > height

    def frame(self, width: float, height: float) -> tuple[int, int, int, int]:
        """Compute the part of the model input that shows an image.

        Args:
            width: Width of the image after rotation, in any unit.
            height: Height of the image after rotation, in the same unit.

        Returns:
            Rectangle in the model input as (left, top, width, height), in pixels.
        """
        if self.framing == "stretch":
            return 0, 0, self.width, self.height
        scale = min(self.width / width, self.height / height)
        across = min(self.width, max(1, round(width * scale)))
        down = min(self.height, max(1, round(height * scale)))
        return (self.width - across) // 2, (self.height - down) // 2, across, down

    def _resize(self, image: Image.Image, width: int, height: int) -> Image.Image:
        # Width and height in calls of their own: in one call Pillow 13 resizes the height first if the image is
        # much higher than wide, earlier versions never do, and 8-bit rounding in between makes the pixels differ.
        for size in ((width, image.height), (width, height)):
            if image.size != size:
                image = image.resize(size, _RESAMPLING[self.filter])
        return image

    def load(self, source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
        """Decode and preprocess an image, the first one of its file.

        Args:
            source: Path, bytes of a file, open binary file or array; see
                `fracture_edge.images.image_file.load_image`.
            max_pixels: Maximum number of pixels; larger images are refused before they are decoded.

        Returns:
            Model input, uint8 [height, width, 1].

        Raises:
            ImageError: The image cannot be used; see `fracture_edge.images.image_file.load_image`.
        """
        return self.load_framed(source, max_pixels=max_pixels).pixels

    def load_framed(self, source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Framed:
        """Decode and preprocess an image like `load`, and keep the properties that `Framed` lists."""
        return self.framed(self.open(source, max_pixels=max_pixels).read())

    def open(self, source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> ImageFile:
        """Open an image file to read its frames one by one and pass them to `framed`; arguments as for `load`."""
        return ImageFile(source, model_size=(self.height, self.width), max_pixels=max_pixels)

    def framed(self, picture: Picture) -> Framed:
        """Preprocess one decoded frame, and keep the properties that `Framed` lists."""
        height, width = picture.pixels.shape
        size = true_size(width, height, picture.aspect)
        left, top, across, down = self.frame(*(size[::-1] if self.turns(*size) else size))
        pixels = self(picture.pixels, picture.aspect)
        return Framed(
            pixels=pixels,
            content=pixels[top : top + down, left : left + across, 0],
            side=min(height, width),
            colour=picture.colour,
            frame=picture.frame,
            frames=picture.frames,
            aspect=picture.aspect,
            body_part=picture.body_part,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary of plain values, for the model's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Make a preprocessing from a dictionary of its fields, the inverse of `to_dict`.

        Raises:
            ModelError: A field is missing, unknown or out of range.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"preprocessing: {error}") from error


def _choice_error(name: str, value: object, choices: tuple[str, ...]) -> str:
    return f"preprocessing: {name} {value!r} must be one of: {', '.join(choices)}"
