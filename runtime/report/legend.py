"""The strip below a heatmap that says what its colours mean."""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colour import HATCH, SCALE_LIMIT, colour_map
from .numbers import MINUS, signed
from .schema import Result

_WIDTH_AT_LEAST = 760
_STRIP = 92
_MARGIN = 16
_BAR = (280, 14)
"""Pixels: least width of the picture, height of the strip, margin, and size of the colour bar."""

_INK = (29, 37, 48)
_MUTED = (82, 94, 109)


def add_legend(picture: Image.Image, marker: str, result: Result) -> Image.Image:
    """The picture on white with a legend below: marker, colour bar in z, the hatching, and the research-use line."""
    width = max(picture.width, _WIDTH_AT_LEAST)
    canvas = Image.new("RGB", (width, picture.height + _STRIP), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    top = picture.height + 14
    draw.text((_MARGIN, top - 3), _writable(marker), fill=_INK, font=_font(20))
    draw.text((_MARGIN, top + 24), "z, in standard deviations of the atlas", fill=_MUTED, font=_font(12))
    _bar(canvas, draw, width - _MARGIN - _BAR[0], top)
    _hatched_key(draw, width - _MARGIN - _BAR[0] - 130, top)
    origin = "Synthetic demonstration bundle. " if result.bundle.synthetic else ""
    draw.text((_MARGIN, top + 52), f"{origin}{result.notice}", fill=_MUTED, font=_font(12))
    return canvas


def _bar(canvas: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    colours = Image.fromarray(np.ascontiguousarray(colour_map()[None]))
    canvas.paste(colours.resize(_BAR, Image.Resampling.BILINEAR), (left, top))
    draw.rectangle((left, top, left + _BAR[0] - 1, top + _BAR[1] - 1), outline=_MUTED)
    for share, label in ((0.0, signed(-SCALE_LIMIT)), (0.5, "0.00"), (1.0, signed(SCALE_LIMIT))):
        anchor = {0.0: "la", 0.5: "ma", 1.0: "ra"}[share]
        draw.text(
            (left + share * _BAR[0], top + _BAR[1] + 4), _writable(label), fill=_INK, font=_font(12), anchor=anchor
        )


def _hatched_key(draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    right, bottom = left + 17, top + _BAR[1] - 1
    draw.rectangle((left, top, right, bottom), fill=HATCH[0], outline=_MUTED)
    for y in range(top + 1, bottom):
        for x in range(left + 1, right):
            if (x + y) % 6 < 3:
                draw.point((x, y), fill=HATCH[1])
    draw.text((left + 25, top), "no estimate", fill=_INK, font=_font(12))


def _writable(text: str) -> str:
    """The text in the letters of the built-in font, which has neither Greek nor a true minus sign."""
    return "".join(_letter(sign) for sign in text.replace(MINUS, "-"))


def _letter(sign: str) -> str:
    name = unicodedata.name(sign, "")
    return name.rsplit(" ", 1)[-1].lower() if name.startswith("GREEK") else sign


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
