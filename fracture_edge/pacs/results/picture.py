"""Picture of the Secondary Capture: the overlay of the heat map, and a panel with the decision below it."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fracture_edge.heatmap import overlay, true_picture
from fracture_edge.images.image_file import Picture
from fracture_edge.policy import Decision, Policy
from fracture_edge.prediction import Prediction
from fracture_edge.preprocess import Preprocessing

#: Burnt into every picture, because viewers show it without the report.
DISCLAIMER = "RESEARCH ONLY - NOT A MEDICAL DEVICE"
#: Minimum width of the picture in pixels, so that the panel can be read beside a small image.
_LEAST_WIDTH = 512
#: Size of the text relative to the width of the picture, and its minimum in pixels.
_TEXT_SHARE, _LEAST_TEXT = 0.028, 14
_BACKGROUND, _FOREGROUND, _GREY, _BAND = (0, 0, 0), (255, 255, 255), (90, 90, 90), (170, 140, 40)
_WORDS = {
    Decision.FRACTURED: "FRACTURED",
    Decision.NOT_FRACTURED: "NOT FRACTURED",
    Decision.UNCERTAIN: "UNCERTAIN",
}


def result_picture(
    picture: Picture, prediction: Prediction, preprocessing: Preprocessing, policy: Policy
) -> npt.NDArray[np.uint8]:
    """Draw the picture of a Secondary Capture.

    The upper part is `fracture_edge.heatmap.overlay`, pixel by pixel; of a model without a heat map, the image
    alone. No text comes from the header of the image.

    Args:
        picture: Image that was classified.
        prediction: Prediction for it, with a decision.
        preprocessing: Preprocessing of the model.
        policy: Operating point that the decision was made with.

    Returns:
        RGB picture, uint8 [H, W, 3].
    """
    if prediction.heatmap is None:
        upper = true_picture(picture.pixels, picture.aspect)[0].convert("RGB")
    else:
        upper = overlay(picture.pixels, prediction.heatmap, preprocessing, picture.aspect)
    width = max(_LEAST_WIDTH, upper.width)
    panel = _panel(width, prediction, policy)
    whole = Image.new("RGB", (width, upper.height + panel.height), _BACKGROUND)
    whole.paste(upper, (0, 0))
    whole.paste(panel, (0, upper.height))
    return np.asarray(whole)


def _panel(width: int, prediction: Prediction, policy: Policy) -> Image.Image:
    """Draw decision, scale with threshold and uncertain band, model and disclaimer."""
    size = max(_LEAST_TEXT, round(_TEXT_SHARE * width))
    large, small = _font(round(1.5 * size)), _font(size)
    margin, line = size, round(1.5 * size)
    probability = prediction.probability or 0.0
    decision = _WORDS[prediction.decision or Decision.UNCERTAIN]
    band = f"uncertain from {policy.uncertain_low:.3f} to {policy.uncertain_high:.3f}"
    if policy.uncertain_low == policy.uncertain_high:
        band = "no uncertain band"
    texts = [
        f"threshold {policy.threshold:.3f}, {band}",
        prediction.reason,
        f"{prediction.model}, SHA-256 {prediction.model_sha256[:12]}",
        DISCLAIMER,
    ]
    if prediction.frames > 1:
        texts.insert(0, f"frame {prediction.frame} of {prediction.frames}, the one with the highest probability")
    lines = [line for text in texts for line in _wrapped(text, small, width - 2 * margin)]
    scale_top = margin + 2 * line
    text_top = scale_top + 2 * line
    height = text_top + line * len(lines) + margin
    panel = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(panel)
    draw.text((margin, margin), decision, fill=_FOREGROUND, font=large)
    draw.text(
        (width - margin, margin), f"P(fractured) = {probability:.3f}", fill=_FOREGROUND, font=large, anchor="ra"
    )
    _draw_scale(draw, (margin, scale_top, width - margin, scale_top + line // 2), probability, policy)
    for number, text in enumerate(lines):
        draw.text((margin, text_top + number * line), text, fill=_FOREGROUND, font=small)
    return panel


def _draw_scale(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], probability: float, policy: Policy
) -> None:
    """Draw the scale of P(fractured) from 0 to 1: uncertain band, a line at the threshold, a triangle at P."""
    left, top, right, bottom = box
    half = (bottom - top) / 2

    def at(value: float) -> float:
        return left + value * (right - left)

    draw.rectangle(box, fill=_GREY)
    if policy.uncertain_high > policy.uncertain_low:
        draw.rectangle((at(policy.uncertain_low), top, at(policy.uncertain_high), bottom), fill=_BAND)
    threshold = at(policy.threshold)
    draw.line((threshold, top - half, threshold, bottom + half), fill=_FOREGROUND, width=2)
    tip = at(min(max(probability, 0.0), 1.0))
    draw.polygon(
        ((tip, bottom), (tip - 2 * half, bottom + 3 * half), (tip + 2 * half, bottom + 3 * half)), fill=_FOREGROUND
    )


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a text into lines that fit, at spaces."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getbbox(longer)[2] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size)
    except ImportError:
        # Pillow without FreeType has one small font.
        return ImageFont.load_default()
