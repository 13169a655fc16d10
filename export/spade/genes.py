"""Which genes a bundle tells of: those of a dataset that vary most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from haiku_edge.runtime.errors import PanelError

from ..spatial import SpotDataset, log_normalise


def choose_genes(dataset: SpotDataset, wanted: int | Sequence[str]) -> tuple[str, ...]:
    """Choose genes by name, or those whose log-normalised expression varies most over all spots.

    Args:
        dataset: The spots; read section by section.
        wanted: How many, or which.

    Returns:
        Names, in the dataset's order.

    Raises:
        PanelError: A named gene is not in the dataset.
    """
    if not isinstance(wanted, int):
        missing = [gene for gene in wanted if gene not in dataset.genes]
        if missing:
            raise PanelError(
                f"{len(missing)} of the genes asked for are not in {dataset.name}: {', '.join(missing[:5])}. "
                "`haiku-edge spots info` lists those that are."
            )
        return tuple(dict.fromkeys(wanted))
    if wanted >= len(dataset.genes):
        return dataset.genes
    count, total, squares = 0, np.zeros(len(dataset.genes)), np.zeros(len(dataset.genes))
    for section in dataset.sections:
        spots = dataset.read(section.section)
        for start in range(0, len(spots), 1024):
            rows = slice(start, start + 1024)
            values = log_normalise(csr_matrix(spots.counts[rows]), spots.library[rows]).astype(np.float64)
            total += values.sum(axis=0)
            squares += (values**2).sum(axis=0)
        count += len(spots)
    variance = squares / count - (total / count) ** 2
    chosen = np.sort(np.argsort(-variance, kind="stable")[:wanted])
    return tuple(dataset.genes[place] for place in chosen)
