"""A bundle's golden cases: inputs of each tower, and what the towers made of them where they were trained."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..engine.model import SPADE
from ..errors import BundleContentError
from .mixture import split_mixture

_INPUTS = {
    "he": {"tiles": "he_tiles"},
    "text": {"input_ids": "input_ids", "attention_mask": "attention_mask"},
    "mif": {"patches": "mif_patches", "markers": "mif_markers"},
    SPADE: {"tiles": "spade_tiles"},
}
"""Tower → input of its graph → name in the file. A student takes what the H&E tower takes."""


class GoldenCases:
    """The golden cases of a bundle.

    Args:
        bundle: The verified bundle.

    Raises:
        BundleContentError: They can't be read.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        data = bundle.read(bundle.manifest.golden.file)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                self._arrays: dict[str, NDArray[Any]] = {name: arrays[name] for name in arrays.files}
        except (ValueError, EOFError, TypeError, OSError, zipfile.BadZipFile) as error:
            raise BundleContentError(f"The bundle's golden cases can't be read: {error}") from error

    def inputs(self, tower: str) -> dict[str, NDArray[Any]]:
        """The inputs of a tower (he, text, mif or a student), one row a case.

        Raises:
            BundleContentError: The bundle has none for it.
        """
        return {
            name: self._array(stored)
            for name, stored in _INPUTS["he" if tower.startswith("student-") else tower].items()
        }

    def vectors(self, tower: str) -> NDArray[np.float32]:
        """(n, d) float32: what the trained tower made of them in fp32; of SPADE's, embedding and weights side by side.

        Raises:
            BundleContentError: The bundle has none for it.
        """
        return np.asarray(self._array(f"{tower}_vectors"), dtype=np.float32)

    def directions(self, tower: str, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) float32: the part of a tower's output that is searched with, which is what engines are judged by.

        Args:
            tower: Its name.
            output: What it, or an engine of it, gave.
        """
        if tower != SPADE:
            return output
        return split_mixture(output, self._manifest.need_spade().dimension).vectors

    def shares(self, tower: str, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, e) float32: the weights of the experts that a tower's output ends in; e is 0 for a tower of none.

        Args:
            tower: Its name.
            output: What it, or an engine of it, gave.
        """
        if tower != SPADE:
            return output[:, :0]
        return split_mixture(output, self._manifest.need_spade().dimension).experts

    def _array(self, name: str) -> NDArray[Any]:
        if name not in self._arrays or not len(self._arrays[name]):
            raise BundleContentError(f"The bundle's golden cases lack {name}. Export the bundle again.")
        return self._arrays[name]
