"""Calibration measures the very prediction that the slide gets, and its intervals cover new patients."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.runtime.atlas import Atlas
from haiku_edge.runtime.errors import BundleContentError
from haiku_edge.runtime.inference import infer_expression, patients_allowed, retrieve
from haiku_edge.runtime.inference.calibration import ABSTENTION_RATE, CalibrationCases, calibrate, check_cases
from tests.runtime.inference.small_atlas import small_atlas, unit

MARKERS, DIMENSION, TILES = 3, 12, 10


class World:
    """Patients whose expression is a noisy linear function of what their tiles look like."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._weights = self._rng.normal(size=(DIMENSION, MARKERS))

    def patients(self, names: list[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Owner, vector and expression of `TILES` tiles a patient; a patient's errors are alike."""
        vectors = unit(self._rng.normal(size=(len(names) * TILES, DIMENSION)))
        bias = np.repeat(self._rng.normal(scale=8, size=(len(names), MARKERS)), TILES, axis=0)
        noise = self._rng.normal(scale=8, size=bias.shape)
        return list(np.repeat(names, TILES)), vectors, 100 + 20 * vectors @ self._weights + bias + noise


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def _cases(atlas: Atlas, owners: list[str], vectors: np.ndarray, expression: np.ndarray) -> CalibrationCases:
    z = ((expression - atlas.mean) / atlas.std).astype(np.float32)
    return CalibrationCases(np.array(owners), vectors, vectors, z)


def _world(seed: int) -> tuple[World, Atlas, CalibrationCases]:
    world = World(seed)
    owners, vectors, expression = world.patients(_names("atlas", 20))
    atlas = small_atlas(vectors, expression, owners)
    return world, atlas, _cases(atlas, *world.patients(_names("calibration", 40)))


def test_intervals_cover_new_patients_as_often_as_stated() -> None:
    tiles, slides = [], []
    for seed in range(40):
        world, atlas, cases = _world(seed)
        calibration = calibrate(atlas, cases, with_notes=False, text_weight=0.2, neighbours=5)
        new = _cases(atlas, *world.patients(_names("new", 5)))
        value = infer_expression(atlas, retrieve(atlas, new.he, None, text_weight=0.2, neighbours=5)).value
        error = np.abs(value - new.z)
        tiles.append((error <= calibration.tile_half_width).mean())
        means = np.abs((value - new.z).reshape(5, TILES, MARKERS).mean(axis=1))
        slides.append((means <= calibration.slide_half_width).mean())
    assert np.mean(tiles) > 0.88
    assert np.mean(slides) > 0.88
    assert np.mean(tiles) < 0.97, "intervals that always hold say nothing"


def test_about_the_stated_share_of_ordinary_tiles_abstains() -> None:
    shares = []
    for seed in range(20):
        world, atlas, cases = _world(seed)
        calibration = calibrate(atlas, cases, with_notes=False, text_weight=0.2, neighbours=5)
        _, vectors, _ = world.patients(_names("new", 20))
        best = retrieve(atlas, vectors, None, text_weight=0.2, neighbours=5).he_similarity[:, 0]
        shares.append((best < calibration.similarity_threshold).mean())
    assert np.mean(shares) < 2 * ABSTENTION_RATE


def test_a_tile_unlike_all_evidence_abstains() -> None:
    rng = np.random.default_rng(0)
    world = World(0)
    owners, vectors, expression = world.patients(_names("atlas", 20))
    vectors[:, -1] = 0
    atlas = small_atlas(vectors, expression, owners)
    own, seen, measured = world.patients(_names("calibration", 40))
    seen[:, -1] = 0
    calibration = calibrate(
        atlas, _cases(atlas, own, unit(seen), measured), with_notes=False, text_weight=0, neighbours=5
    )
    strange = unit(np.eye(DIMENSION)[-1:] + 0.05 * rng.normal(size=(1, DIMENSION)))
    best = retrieve(atlas, strange, None, text_weight=0, neighbours=5).he_similarity[:, 0]
    assert best[0] < calibration.similarity_threshold
    assert calibration.percentile(best)[0] == 0


def test_percentiles_run_from_the_least_to_the_most_similar() -> None:
    _, atlas, cases = _world(3)
    calibration = calibrate(atlas, cases, with_notes=False, text_weight=0.2, neighbours=5)
    own = calibration.percentile(calibration.similarities)
    assert own[0] == 0 and own[-1] > 99 and (np.diff(own) >= 0).all()
    assert calibration.percentile(np.array([2.0], np.float32))[0] == pytest.approx(100)


def test_excluding_a_patient_also_changes_the_calibration() -> None:
    _, atlas, cases = _world(4)
    options = {"with_notes": False, "text_weight": 0.2, "neighbours": 5}
    everyone = calibrate(atlas, cases, **options)
    fewer = calibrate(atlas, cases, **options, allowed=patients_allowed(atlas, tuple(_names("atlas", 15))))
    assert fewer.tile_half_width.mean() > everyone.tile_half_width.mean()


def test_a_calibration_patient_who_is_in_the_atlas_is_refused() -> None:
    world, atlas, _ = _world(5)
    leaked = _cases(atlas, *world.patients(["calibration0", "atlas3"]))
    with pytest.raises(BundleContentError, match="also in the atlas"):
        check_cases(leaked, atlas)
