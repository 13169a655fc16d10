"""The strip below a heatmap that says what its colours mean."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colour import HATCH, SCALE_LIMIT, colour_map
from .numbers import MINUS, THIN_SPACE, signed
from .schema import Result

_WIDTH_AT_LEAST = 760
_STRIP = 92
_MARGIN = 16
_BAR = (280, 14)
"""Pixels: least width of the picture, height of the strip, margin, and size of the colour bar."""

_KEY = (150, 20)
"""Pixels: width and height of a named colour."""

_INK = (29, 37, 48)
_MUTED = (82, 94, 109)
_TISSUE = (190, 190, 190)


def add_legend(picture: Image.Image, marker: str, result: Result, atlas: str = "the atlas") -> Image.Image:
    """The picture on white with a legend below: marker, colour bar in z, the hatching, and the research-use line."""
    canvas = _on_white(picture, _STRIP)
    draw = ImageDraw.Draw(canvas)
    top = picture.height + 14
    draw.text((_MARGIN, top - 3), _writable(marker), fill=_INK, font=_font(20))
    draw.text((_MARGIN, top + 24), f"z, in standard deviations of {atlas}", fill=_MUTED, font=_font(12))
    _bar(canvas, draw, canvas.width - _MARGIN - _BAR[0], top)
    left = canvas.width - _MARGIN - _BAR[0] - 130
    _hatched_key(draw, left, top, "no estimate")
    _plain_key(draw, left, top + _KEY[1])
    _notice(draw, top + 52, result)
    return canvas


def add_key(
    picture: Image.Image, title: str, entries: Sequence[tuple[tuple[int, int, int], str]], result: Result
) -> Image.Image:
    """The picture on white with a title, colours with their names in columns, and the research-use line below."""
    columns = max(1, (max(picture.width, _WIDTH_AT_LEAST) - 2 * _MARGIN) // _KEY[0])
    rows = -(-len(entries) // columns)
    canvas = _on_white(picture, _STRIP - 24 + rows * _KEY[1])
    draw = ImageDraw.Draw(canvas)
    top = picture.height + 14
    draw.text((_MARGIN, top - 3), _writable(title), fill=_INK, font=_font(20))
    _hatched_key(draw, canvas.width - _MARGIN - 250, top, "blurred or unreadable")
    _plain_key(draw, canvas.width - _MARGIN - 80, top)
    for place, (colour, label) in enumerate(entries):
        left, up = _MARGIN + place % columns * _KEY[0], top + 28 + place // columns * _KEY[1]
        draw.rectangle((left, up, left + 17, up + 13), fill=colour, outline=_MUTED)
        draw.text((left + 25, up), _writable(label), fill=_INK, font=_font(12))
    _notice(draw, top + 34 + rows * _KEY[1], result)
    return canvas


def write_numbers(picture: Image.Image, places: Sequence[tuple[int, float, float]], radius: float) -> None:
    """Write numbers into white discs on a picture: each with its middle (x, y) in pixels."""
    draw = ImageDraw.Draw(picture)
    for number, x, y in places:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="white", outline=_INK)
        draw.text((x, y), str(number), fill=_INK, font=_font(round(1.15 * radius)), anchor="mm")


def _on_white(picture: Image.Image, strip: int) -> Image.Image:
    """The picture in the middle of a white sheet that is wide enough for a legend, with room for it below."""
    width = max(picture.width, _WIDTH_AT_LEAST)
    canvas = Image.new("RGB", (width, picture.height + strip), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    return canvas


def _notice(draw: ImageDraw.ImageDraw, top: int, result: Result) -> None:
    origin = "Synthetic demonstration bundle. " if result.bundle.synthetic else ""
    draw.text((_MARGIN, top), f"{origin}{result.notice}", fill=_MUTED, font=_font(12))


def _bar(canvas: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    colours = Image.fromarray(np.ascontiguousarray(colour_map()[None]))
    canvas.paste(colours.resize(_BAR, Image.Resampling.BILINEAR), (left, top))
    draw.rectangle((left, top, left + _BAR[0] - 1, top + _BAR[1] - 1), outline=_MUTED)
    for share, label in ((0.0, signed(-SCALE_LIMIT)), (0.5, "0.00"), (1.0, signed(SCALE_LIMIT))):
        anchor = {0.0: "la", 0.5: "ma", 1.0: "ra"}[share]
        draw.text(
            (left + share * _BAR[0], top + _BAR[1] + 4), _writable(label), fill=_INK, font=_font(12), anchor=anchor
        )


def _hatched_key(draw: ImageDraw.ImageDraw, left: int, top: int, label: str) -> None:
    right, bottom = left + 17, top + _BAR[1] - 1
    draw.rectangle((left, top, right, bottom), fill=HATCH[0], outline=_MUTED)
    for y in range(top + 1, bottom):
        for x in range(left + 1, right):
            if (x + y) % 6 < 3:
                draw.point((x, y), fill=HATCH[1])
    draw.text((left + 25, top), label, fill=_INK, font=_font(12))


def _plain_key(draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    """What bears no colour: background, pen, folds, and a strip by the edge that is narrower than a tile."""
    draw.rectangle((left, top, left + 17, top + _BAR[1] - 1), fill=_TISSUE, outline=_MUTED)
    draw.text((left + 25, top), "not read", fill=_INK, font=_font(12))


def _writable(text: str) -> str:
    """The text in the letters of the built-in font, which has no Greek, true minus sign or thin space."""
    return "".join(_letter(sign) for sign in text.replace(MINUS, "-").replace(THIN_SPACE, " "))


def _letter(sign: str) -> str:
    name = unicodedata.name(sign, "")
    return name.rsplit(" ", 1)[-1].lower() if name.startswith("GREEK") else sign


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
