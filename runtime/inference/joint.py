"""Several towers over the same tiles, so that one pass over a slide feeds all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engine import DeviceInfo, Engine
from ..engine.types import TensorSpec


@dataclass(frozen=True, slots=True)
class View:
    """What one tower sees of a tile: a square around its centre, at the tower's own scale.

    Attributes:
        size: Side of the tower's tile, pixels.
        mpp: Micrometres per pixel of it.
    """

    size: int
    mpp: float

    @property
    def extent(self) -> float:
        """Side in micrometres."""
        return self.size * self.mpp

    def cut(self, tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.uint8]:
        """Cut the view out of larger or finer tiles.

        Args:
            tiles: (n, s, s, 3) uint8 RGB.
            mpp: Micrometres per pixel of them.

        Returns:
            (n, size, size, 3) uint8.
        """
        side = min(round(self.extent / mpp), tiles.shape[1])
        edge = (tiles.shape[1] - side) // 2
        middle = tiles[:, edge : edge + side, edge : edge + side]
        if side == self.size:
            return np.ascontiguousarray(middle)
        return np.stack([cv2.resize(tile, (self.size, self.size), interpolation=cv2.INTER_AREA) for tile in middle])


def common_view(views: Sequence[View]) -> View:
    """The tile that holds every view at the finest scale of them."""
    mpp = min(view.mpp for view in views)
    return View(round(max(view.extent for view in views) / mpp), mpp)


class JointEngine:
    """Towers side by side: each row holds the first tower's output, then the second's.

    Args:
        engines: The towers on their devices.
        views: What each sees of a tile.
    """

    def __init__(self, engines: Sequence[Engine], views: Sequence[View]) -> None:
        self._engines, self._views = tuple(engines), tuple(views)
        self.view = common_view(views)
        """The tile to read."""

    @property
    def spec(self) -> TensorSpec:
        """Tiles in, all outputs side by side out."""
        side, width = self.view.size, sum(each.spec.dimension for each in self._engines)
        return TensorSpec({"tiles": ("uint8", (None, side, side, 3))}, width)

    @property
    def device(self) -> DeviceInfo:
        """Where the first tower runs."""
        return self._engines[0].device

    def __call__(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Embed a batch of tiles, (n, s, s, 3) uint8, by every tower."""
        pairs = zip(self._engines, self._views, strict=True)
        return np.concatenate([each(tiles=view.cut(inputs["tiles"], self.view.mpp)) for each, view in pairs], axis=1)

    def embed_batches(self, batches: Iterable[Mapping[str, NDArray[Any]]]) -> Iterator[NDArray[np.float32]]:
        """Embed one batch after the other."""
        for batch in batches:
            yield self(**batch)

    def split(self, outputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The output of each tower, in their order."""
        ends = np.cumsum([engine.spec.dimension for engine in self._engines])[:-1]
        return [np.ascontiguousarray(part) for part in np.split(outputs, ends, axis=1)]
