"""The graphs of one model as bytes; torch is not needed to hold them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TowerGraphs:
    """The serialised graphs of one model.

    Attributes:
        he: Bytes of the H&E graph.
        mif: Bytes of the mIF graph.
        text: Bytes of the text graph.
    """

    he: bytes
    mif: bytes
    text: bytes
