"""Which genes a bundle tells of: those of a dataset that vary most."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from haiku_edge.runtime.errors import PanelError

from ..spatial import SpotDataset, log_normalise


def choose_genes(
    dataset: SpotDataset, wanted: int | Sequence[str], others: SpotDataset | None = None
) -> tuple[str, ...]:
    """Choose genes by name, or those whose log-normalised expression varies most over all spots.

    Args:
        dataset: The spots; read section by section.
        wanted: How many, or which.
        others: Spots that must have the genes too, as those that calibrate.

    Returns:
        Names: as named, or in the dataset's order.

    Raises:
        PanelError: A named gene is not in both, or they have none in common.
    """
    held = set(dataset.genes if others is None else others.genes)
    shared = tuple(gene for gene in dataset.genes if gene in held)
    where = dataset.name if others is None else f"both {dataset.name} and {others.name}"
    if not isinstance(wanted, int):
        if missing := sorted(set(wanted) - set(shared)):
            raise PanelError(
                f"{len(missing)} of the genes asked for are not in {where}: {', '.join(missing[:5])}. "
                "`haiku-edge spots info --json` lists those that are."
            )
        return tuple(dict.fromkeys(wanted))
    if not shared:
        raise PanelError(f"No gene is in {where}. Build them from one table of sections, and name genes alike.")
    return shared if wanted >= len(shared) else _most_varied(dataset, wanted, set(shared))


def _most_varied(dataset: SpotDataset, wanted: int, among: Collection[str]) -> tuple[str, ...]:
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
    variance[[gene not in among for gene in dataset.genes]] = -np.inf
    chosen = np.sort(np.argsort(-variance, kind="stable")[:wanted])
    return tuple(dataset.genes[place] for place in chosen)
