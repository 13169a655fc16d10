"""What `retrieve` writes: the findings as JSON, and one HTML page that shows the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..atomic import check_writable, exists_error
from .document import document_json
from .images import data_uri, webp
from .pages import render
from .retrieval_schema import RetrievalResult
from .staging import staging

JSON_NAME = "retrieval.json"
PAGE_NAME = "retrieval.html"

Legend = tuple[tuple[str, tuple[int, int, int]], ...]


@dataclass(frozen=True, slots=True)
class RetrievalImages:
    """Pictures of the page.

    Attributes:
        query: (s, s, 3) uint8 RGB of the query, or None for words.
        found: Composite (WebP) by item; an item without one is shown by its numbers alone.
        legend: (marker, (red, green, blue)) of the false colours.
    """

    query: NDArray[np.uint8] | None
    found: Mapping[str, bytes]
    legend: Legend = ()


def check_retrieval_folder(folder: Path, *, force: bool) -> None:
    """See, before any work, that a retrieval can be written there and that none is replaced unasked.

    Raises:
        OutputExistsError: A retrieval is there, and `force` is off.
        OutputNotWritableError, DiskFullError: It could not be written.
    """
    if not force and any((folder / name).exists() for name in (JSON_NAME, PAGE_NAME)):
        raise exists_error(folder, "already holds a retrieval")
    check_writable(folder)


def write_retrieval(folder: Path, result: RetrievalResult, images: RetrievalImages) -> tuple[Path, ...]:
    """Write page and JSON, both whole or none; an older retrieval in the folder is replaced.

    Raises:
        OutputNotWritableError, DiskFullError: They can't be written.
    """
    with staging(folder) as files:
        files.write(PAGE_NAME, render_retrieval(result, images).encode())
        files.write(JSON_NAME, document_json(result))
        return files.publish([folder / JSON_NAME, folder / PAGE_NAME])


def render_retrieval(result: RetrievalResult, images: RetrievalImages) -> str:
    """The page as HTML, with everything inside."""
    return render(
        "retrieval.html",
        r=result,
        query=None if images.query is None else data_uri(webp(images.query)),
        pictures={name: data_uri(picture) for name, picture in images.found.items()},
        colours=images.legend,
    )


def composite(
    pixels: NDArray[np.uint8],
    markers: tuple[str, ...],
    colours: Mapping[str, tuple[int, int, int]],
    ranges: Mapping[str, tuple[float, float]],
) -> NDArray[np.uint8]:
    """An mIF patch in the atlas's false colours, between the intensities that the atlas shows as black and as full.

    Args:
        pixels: (c, s, s) uint8.
        markers: Names of the channels.
        colours: Marker → (red, green, blue).
        ranges: Marker → intensities shown as black and at full brightness.
    """
    picture = np.zeros((*pixels.shape[1:], 3), np.float32)
    for channel, marker in zip(pixels, markers, strict=True):
        if marker in colours and marker in ranges:
            black, white = ranges[marker]
            share = np.clip((channel.astype(np.float32) - black) / max(white - black, 1e-6), 0, 1)
            picture += share[..., None] * np.array(colours[marker], np.float32)
    return np.asarray(np.rint(np.clip(picture, 0, 255)), np.uint8)
