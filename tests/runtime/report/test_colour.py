"""The heatmap's colours, judged in another colour space (CIELAB) than the one they were built in."""

from __future__ import annotations

import cv2
import numpy as np

from haiku_edge.runtime.report.colour import SCALE_LIMIT, colour_index, colour_map

# Machado, Oliveira and Fernandes (2009), full deuteranopia and protanopia, on linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def cielab(colours: np.ndarray) -> np.ndarray:
    return cv2.cvtColor((colours[None].astype(np.float32) / 255), cv2.COLOR_RGB2LAB)[0]


def test_lightness_rises_to_the_middle_and_falls_after_it() -> None:
    lightness = cielab(colour_map())[:, 0]
    assert np.all(np.diff(lightness[:126]) > -0.35)
    assert np.all(np.diff(lightness[125:]) < 0.35)
    assert lightness[125] > 93 and max(lightness[0], lightness[-1]) < 50


def test_equal_steps_look_about_equally_large_within_each_half() -> None:
    for half in (colour_map()[:126:5], colour_map()[125::5]):
        steps = np.linalg.norm(np.diff(cielab(half), axis=0), axis=1)
        assert steps.max() / steps.min() < 2.5


def test_both_ends_stay_apart_with_red_green_blindness() -> None:
    linear = np.where((c := colour_map() / 255) <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    for blindness in (DEUTERANOPIA, PROTANOPIA):
        seen = np.clip(linear @ blindness.T, 0, 1)
        seen = 255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
        lab = cielab(seen)
        assert np.linalg.norm(lab[0] - lab[-1]) > 60
        assert np.linalg.norm(lab[62] - lab[188]) > 25


def test_the_scale_is_symmetric_and_saturates() -> None:
    z = np.array([0.0, SCALE_LIMIT, -SCALE_LIMIT, 99, -99], dtype=np.float32)
    assert colour_index(z).tolist() == [125, 250, 0, 250, 0]
    values = np.linspace(0, 2, 41, dtype=np.float32)
    assert np.array_equal(250 - colour_index(values), colour_index(-values))
