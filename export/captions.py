"""Captions: the clinical facts, and in training also a narrative of what the mIF patch shows.

Source: Haiku, 2605.00925, text recipe, steps A and B in simple form. At inference only the metadata prompt is used
(`haiku_edge.runtime.notes.metadata_prompt`), so training shows both forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.notes import metadata_prompt

from .synthetic import OUTCOME_FACTS

TRANSITION = " in terms of protein expression, the most notable deviations from background are observed in:"
"""One of the published transitions; always this one, as the introduction is always the first."""

NAMED_MARKERS = 2
"""Markers named as enriched and as depleted. The paper names up to five; two leave room for long notes."""

POSITIVE = 40
"""Intensity of 255 above which a pixel counts as covered: well above the background and noise of a channel."""

KEEP_SHARES = (1.0, 0.85, 0.5)
"""Shares of the facts that a training caption keeps, each as likely: a case with few facts must embed sensibly too."""

NARRATIVE_SHARE = 0.5
"""Share of training captions that carry the narrative."""


def describe_patterns(mif: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Name how each channel lies in a patch, by coverage and variation as in the paper's step A.

    Every second row and column is looked at: a quarter of the work for the same names.

    Args:
        mif: (n, c, s, s) uint8.

    Returns:
        (n, c) of "sparse", "scattered sparse", "uniform moderate", "heterogeneous moderate", "uniform dense",
        "heterogeneous dense".
    """
    values = mif[:, :, ::2, ::2].astype(np.float32)
    coverage = (values > POSITIVE).mean(axis=(2, 3))
    variation = values.std(axis=(2, 3)) / np.maximum(values.mean(axis=(2, 3)), 1e-6)
    kind = np.where(variation < 0.6, "uniform", "heterogeneous")
    dense = np.char.add(kind, np.where(coverage > 0.7, " dense", " moderate"))
    thin = np.where(coverage < 0.1, "sparse", "scattered sparse")
    return np.where(coverage > 0.3, dense, thin)


def narrate(markers: Sequence[str], z: NDArray[np.float32], patterns: NDArray[np.str_]) -> str:
    """Tell which markers stand out in a patch against the rest of its region.

    Args:
        markers: (m,) names.
        z: (m,) z-scores against the other patches of the region, NaN where not measured.
        patterns: (m,) from `describe_patterns`.

    Returns:
        The paper's transition and sentences; empty where nothing was measured.
    """
    order = [int(i) for i in np.argsort(-z, kind="stable") if np.isfinite(z[i])]
    high = [i for i in order if z[i] > 0][:NAMED_MARKERS]
    low = [i for i in reversed(order) if z[i] < 0][:NAMED_MARKERS]
    text = ""
    if high:
        parts = (f"{markers[i]} shows relatively high expression exhibiting a {patterns[i]} pattern" for i in high)
        text += f" The region is enriched for {'; '.join(parts)}."
    if low:
        parts = (f"{markers[i]} is relatively low in expression with a {patterns[i]} pattern" for i in low)
        text += f" Conversely, it shows relative depletion of {'; '.join(parts)}."
    return TRANSITION + text if text else ""


def region_z(expression: NDArray[np.float32]) -> NDArray[np.float32]:
    """z-score of each patch against the other patches of its region (leave one out), per marker.

    Args:
        expression: (n, m) mean intensities of one region, NaN where not measured.

    Returns:
        (n, m) float32; 0 where the others do not vary.
    """
    count = len(expression)
    if count < 3:
        return np.where(np.isfinite(expression), 0.0, np.nan).astype(np.float32)
    total, square = expression.sum(axis=0), (expression**2).sum(axis=0)
    mean = (total - expression) / (count - 1)
    deviation = np.sqrt(np.maximum((square - expression**2) / (count - 1) - mean**2, 0.0))
    z = np.where(deviation > 1e-6, (expression - mean) / np.maximum(deviation, 1e-6), 0.0)
    return np.where(np.isfinite(expression), z, np.nan).astype(np.float32)


def drop_facts(facts: Mapping[str, str], rng: np.random.Generator) -> dict[str, str]:
    """Leave out facts at random, keeping the order of the rest; outcomes go more often than others."""
    keep = float(rng.choice(KEEP_SHARES))
    outcome = rng.random() < 0.5
    return {key: value for key, value in facts.items() if (outcome or key not in OUTCOME_FACTS) and rng.random() < keep}


def training_caption(
    facts: Mapping[str, str], narrative: str, rng: np.random.Generator, share: float = NARRATIVE_SHARE
) -> str:
    """Draw a caption: some of the facts, and a `share` of the time the narrative too."""
    prompt = metadata_prompt(tuple(drop_facts(facts, rng).items()))
    return prompt + narrative if rng.random() < share else prompt
