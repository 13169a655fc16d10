"""Each patch's pictures are found at random, and show that patch."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from haiku_edge.export.atlas import BuiltAtlas, Provenance, build_atlas
from haiku_edge.runtime.atlas import Pictures, open_atlas
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.errors import UsageError


@pytest.fixture
def pictures(built: BuiltAtlas, bundle_of: Callable[[BuiltAtlas], Bundle]) -> Pictures:
    return open_atlas(bundle_of(built)).pictures


def decode(picture: bytes) -> Any:
    image = Image.open(io.BytesIO(picture))
    assert image.format == "WEBP"
    return np.asarray(image.convert("RGB")).astype(float)


def test_every_patch_has_a_composite_and_its_measured_channels(pictures: Pictures) -> None:
    for patch in range(12):
        measured = ("DAPI", "PanCK", "CD8") if patch % 2 == 0 else ("DAPI", "PanCK")
        assert pictures.channels(patch) == measured
        assert decode(pictures.composite(patch)).shape == (128, 128, 3)
        for marker in measured:
            assert decode(pictures.channel(patch, marker)).shape == (64, 64, 3)


def test_what_was_not_measured_has_no_picture_and_no_legend(pictures: Pictures) -> None:
    with pytest.raises(UsageError, match="CD8"):
        pictures.channel(1, "CD8")
    assert [entry.marker for entry in pictures.legend(0)] == ["DAPI", "PanCK", "CD8"]
    assert [entry.marker for entry in pictures.legend(1)] == ["DAPI", "PanCK"]


@pytest.mark.parametrize("patch", [-1, 12, 1 << 40])
def test_a_patch_that_is_not_there_is_refused(pictures: Pictures, patch: int) -> None:
    for call in (pictures.composite, pictures.channels, pictures.legend):
        with pytest.raises(UsageError):
            call(patch)


def test_a_painted_corner_is_bright_in_its_channel_and_coloured_in_the_composite(
    bundle_of: Callable[[BuiltAtlas], Bundle],
) -> None:
    """Patch 0 is painted in the left half with DAPI, patch 1 at the top with PanCK; elsewhere there is nothing."""
    patches = np.zeros((2, 2, 256, 256), np.uint8)
    patches[0, 0, :, :128] = 200
    patches[1, 1, :128] = 100
    names = ("a", "b")
    built = build_atlas(
        np.eye(2, 4, dtype=np.float32),
        ("DAPI", "Pan-Cytokeratin"),
        list(patches),
        patches.mean(axis=(2, 3)).astype(np.float32),
        Provenance(names, names, names, names, names),
    )
    pictures = open_atlas(bundle_of(built)).pictures
    dapi, cytokeratin = decode(pictures.channel(0, "DAPI")), decode(pictures.channel(1, "Pan-Cytokeratin"))
    assert dapi[:, :28].mean() > 245 and dapi[:, 36:].mean() < 10
    assert cytokeratin[:28].mean() > 245 and cytokeratin[36:].mean() < 10
    left, top = decode(pictures.composite(0))[:, :60].mean((0, 1)), decode(pictures.composite(1))[:60].mean((0, 1))
    assert left.argmax() == 2 and left[2] > 200, "DAPI is blue"
    assert top.argmax() == 1 and top[1] > 150, "cytokeratin is green"
    assert decode(pictures.composite(0))[:, 68:].mean() < 10
    assert pictures.ranges["DAPI"] == (0, 200)


def test_a_dim_patch_stays_dim_beside_a_bright_one(bundle_of: Callable[[BuiltAtlas], Bundle]) -> None:
    """Brightness means the same in every patch: it is not stretched patch by patch."""
    patches = np.zeros((2, 1, 256, 256), np.uint8)
    patches[0, 0, 64:192, 64:192], patches[1, 0, 64:192, 64:192] = 200, 50
    names = ("a", "b")
    built = build_atlas(
        np.eye(2, 4, dtype=np.float32),
        ("CD8",),
        list(patches),
        patches.mean(axis=(2, 3)).astype(np.float32),
        Provenance(names, names, names, names, names),
    )
    pictures = open_atlas(bundle_of(built)).pictures
    bright, dim = (decode(pictures.channel(patch, "CD8"))[20:44, 20:44].mean() for patch in (0, 1))
    assert bright / dim == pytest.approx(4, rel=0.1)
