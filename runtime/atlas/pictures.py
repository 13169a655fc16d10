"""The pictures of the patches: WebP images one after another in `pictures.bin`, each found by offset and length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleContentError, UsageError
from .patches import PictureTable


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """How one marker is shown.

    Attributes:
        marker: Its name.
        colour: '#rrggbb' in the composite.
        black: Intensity, 0 to 255, up to which it is shown as black; the same for every patch, so that patches compare.
        white: Intensity from which it is shown at full brightness.
    """

    marker: str
    colour: str
    black: float
    white: float


class Pictures:
    """Random access to the pictures of an atlas."""

    media_type: Final = "image/webp"

    def __init__(self, data: bytes, table: PictureTable, markers: tuple[str, ...]) -> None:
        """Check every place against the length of `data`, the bytes of `pictures.bin`.

        Raises:
            BundleContentError: A picture lies outside.
        """
        _check_places(table.composite_offset, table.composite_length, len(data))
        _check_places(table.channel_offset, table.channel_length, len(data))
        self._data = data
        self._table = table
        self._columns = {marker: column for column, marker in enumerate(markers)}

    @property
    def composite_side(self) -> int:
        """Side of a composite, pixels."""
        return self._table.composite_side

    @property
    def channel_side(self) -> int:
        """Side of a single channel's picture, pixels."""
        return self._table.channel_side

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Marker → intensities shown as black and at full brightness, in its single channel and in the composite."""
        return dict(self._table.ranges)

    def composite(self, patch: int) -> bytes:
        """The false-colour composite of a patch (row of the atlas), as WebP.

        Raises:
            UsageError: There is no such patch, or it has no composite.
        """
        row = self._row(patch)
        if not self._table.composite_length[row]:
            raise UsageError(f"Patch {row} of the atlas has no composite.")
        return self._cut(self._table.composite_offset[row], self._table.composite_length[row])

    def channels(self, patch: int) -> tuple[str, ...]:
        """The markers that a patch's panel measured: those with a picture."""
        lengths = self._table.channel_length[self._row(patch)]
        return tuple(marker for marker, column in self._columns.items() if lengths[column] > 0)

    def channel(self, patch: int, marker: str) -> bytes:
        """One marker of a patch in grey, as WebP.

        Raises:
            UsageError: There is no such patch or marker, or the patch's panel did not measure it.
        """
        row = self._row(patch)
        if marker not in self._columns or not self._table.channel_length[row, self._columns[marker]]:
            raise UsageError(
                f"Patch {row} of the atlas has no picture of {marker!r}; it has {', '.join(self.channels(row))}."
            )
        column = self._columns[marker]
        return self._cut(self._table.channel_offset[row, column], self._table.channel_length[row, column])

    def legend(self, patch: int) -> tuple[LegendEntry, ...]:
        """Which measured markers the composite of a patch shows, and how."""
        measured = set(self.channels(patch))
        return tuple(
            LegendEntry(marker, colour, *self._table.ranges[marker])
            for marker, colour in self._table.colours.items()
            if marker in measured
        )

    def _row(self, patch: int) -> int:
        if not 0 <= patch < len(self._table.composite_offset):
            raise UsageError(
                f"The atlas has no patch {patch}; it has {len(self._table.composite_offset)}, counted from 0."
            )
        return int(patch)

    def _cut(self, offset: np.int64, length: np.int64) -> bytes:
        picture = self._data[int(offset) : int(offset + length)]
        if picture[:4] != b"RIFF" or picture[8:12] != b"WEBP":
            raise _refused("there is no WebP image where one should be")
        return picture


def _check_places(offsets: NDArray[np.int64], lengths: NDArray[np.int64], size: int) -> None:
    # offset <= size - length cannot overflow once length is known to lie within 0 and size.
    if ((offsets < 0) | (lengths < 0) | (lengths > size)).any() or (offsets > size - lengths).any():
        raise _refused("a picture lies outside its file")


def _refused(why: str) -> BundleContentError:
    return BundleContentError(f"The atlas's pictures can't be used: {why}. Export the bundle again.")
