"""Genes of sections: how counts are normalised, which genes vary, and which genes a cohort shares. Names are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

from haiku_edge.runtime.errors import PanelError

TARGET: Final = 10_000.0
"""Counts that every spot is scaled to."""

PER_SECTION: Final = 50
"""Most variable genes that each section adds. Published."""

LEAST_COMMON: Final = 10_000
"""A section whose genes would leave fewer in common does not join. Published."""

_BINS = 20


def log_normalise(counts: csr_matrix, library: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale every spot to 10,000 counts and take log(1 + x).

    Args:
        counts: (n, g) raw counts; the genes may be a selection.
        library: (n,) counts of all genes of each spot. A spot without any stays at 0.

    Returns:
        (n, g) float32.
    """
    return np.asarray(log_normalise_sparse(counts, library).toarray(), np.float32)


def log_normalise_sparse(counts: csr_matrix, library: NDArray[np.float32]) -> csr_matrix:
    """`log_normalise` of what is not zero alone: the same numbers, (n, g) float32, columns of a row in order."""
    out = csr_matrix(counts, copy=True)
    out.sum_duplicates()
    values = np.repeat(_scale(library), np.diff(out.indptr))
    values *= out.data
    out.data = np.log1p(values, out=values).astype(np.float32)
    out.eliminate_zeros()
    return out


def library_of(counts: csr_matrix) -> NDArray[np.float32]:
    """(n,) float32, the sum of each spot's counts."""
    return np.asarray(counts.sum(axis=1), np.float32).ravel()


def variability(counts: csr_matrix, library: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much more each gene varies than genes of like abundance: its normalised dispersion.

    Counts are scaled to 10,000 a spot. A gene's dispersion is the logarithm of variance over mean. Genes are put in 20
    bins of equal width by log(1 + mean), and a dispersion is told in standard deviations from its bin's mean; a gene
    alone in its bin gets 1. Source: Satija et al., Nature Biotechnology 33, 495 (2015), as in Seurat's
    `mean.var.plot` and scanpy's `highly_variable_genes` of flavour "seurat", its default.

    Args:
        counts: (n, g) raw counts of n ≥ 2 spots.
        library: (n,) counts of all genes of each spot.

    Returns:
        (g,) float64; -inf for a gene without a dispersion, which never varies or was never seen.
    """
    mean, variance = _moments(csr_matrix(diags_array(_scale(library)) @ counts))
    seen = variance > 0
    dispersion = np.log(variance[seen] / mean[seen])
    values = np.full(len(mean), -np.inf)
    bins = _bins(np.log1p(mean), seen)
    for place in np.unique(bins):
        inside = bins == place
        values[np.flatnonzero(seen)[inside]] = _standardised(dispersion[inside])
    return values


def most_variable(counts: csr_matrix, library: NDArray[np.float32], number: int) -> NDArray[np.int64]:
    """Columns of the genes that vary most, at most `number`, most variable first; of equals, the first."""
    values = variability(counts, library)
    order = np.argsort(-values, kind="stable")[:number]
    return np.asarray(order[np.isfinite(values[order])], np.int64)


@dataclass(frozen=True, slots=True)
class CommonGenes:
    """What sections share.

    Attributes:
        genes: Names, in the order of the first section that joined.
        joined: Names of the sections that joined, in the order in which they were asked.
        left_out: Section → how many genes would have been left in common.
    """

    genes: tuple[str, ...]
    joined: tuple[str, ...]
    left_out: Mapping[str, int]


def common_genes(sections: Iterable[tuple[str, Sequence[str]]], least: int) -> CommonGenes:
    """Intersect genes greedily: a section joins only if at least `least` genes stay in common (SPADE, 2506.21857).

    The outcome depends on the order; the first section with enough genes sets the measure.

    Args:
        sections: Name and genes of each.
        least: Genes that must stay in common, at least 1.

    Raises:
        PanelError: No section has enough genes, or the sections' names do not meet.
    """
    common: dict[str, None] = {}
    joined: list[str] = []
    left_out: dict[str, int] = {}
    for name, genes in sections:
        held = set(genes)
        kept = {gene: None for gene in common if gene in held} if joined else dict.fromkeys(genes)
        if len(kept) < max(least, 1):
            left_out[name] = len(kept)
        else:
            common = kept
            joined.append(name)
    if not joined:
        raise PanelError(
            f"No section has {least} genes; the richest has {max(left_out.values(), default=0)}. Pass a smaller "
            "--least-common-genes."
        )
    if len(joined) == 1 and left_out:
        other = max(left_out, key=lambda name: left_out[name])
        raise PanelError(
            f"The names of genes don't meet: {joined[0]} shares at most {left_out[other]} genes with another section "
            f"({other}), and {least} are asked for. Name genes alike in all sections, by symbol or by identifier; or "
            "pass a smaller --least-common-genes."
        )
    return CommonGenes(tuple(common), tuple(joined), left_out)


def _scale(library: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) factor that scales each spot; 0 for a spot without counts."""
    return np.divide(TARGET, library, out=np.zeros(len(library), np.float64), where=np.asarray(library) > 0)


def _moments(values: csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(g,) mean and unbiased variance of each column."""
    count = values.shape[0]
    mean = np.asarray(values.sum(axis=0), np.float64).ravel() / count
    squares = np.asarray(values.multiply(values).sum(axis=0), np.float64).ravel() / count
    return mean, np.maximum(squares - mean**2, 0) * count / max(count - 1, 1)


def _bins(mean: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Bin of each seen gene: 20 of equal width over the means of all genes; a mean on an edge is in the lower one."""
    edges = np.linspace(mean.min(), mean.max(), _BINS + 1)
    return np.clip(np.searchsorted(edges, mean[seen], side="left") - 1, 0, _BINS - 1).astype(np.int64)


def _standardised(dispersion: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(dispersion) == 1:
        return np.ones(1)
    deviation = dispersion.std(ddof=1)
    centred = dispersion - dispersion.mean()
    return np.asarray(centred / deviation if deviation > 0 else np.zeros(len(dispersion)))
