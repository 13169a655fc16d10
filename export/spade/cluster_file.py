"""Centroids and their experts on disk, as one file: `clusters.npz`."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from haiku_edge.runtime.atomic import atomic_write
from haiku_edge.runtime.errors import CheckpointIncompleteError, UsageError

from .cluster import Clusters

CLUSTERS_FILE = "clusters.npz"


def write_clusters(path: Path, clusters: Clusters, fingerprint: str) -> None:
    """Write clusters whole.

    Args:
        path: The file.
        clusters: What to write.
        fingerprint: What they were made of: data, encoder, settings.

    Raises:
        OutputNotWritableError, DiskFullError: The file can't be written.
    """
    about = {
        "fingerprint": fingerprint,
        "digest": clusters.digest,
        "organs": clusters.organ_of,
        "wcss": {str(size): value for size, value in clusters.wcss.items()},
        "seed": clusters.seed,
        "shuffled": clusters.shuffled,
        "notes": clusters.notes,
        "merged": clusters.merged,
    }
    stream = io.BytesIO()
    np.savez(
        stream,
        centroids=clusters.centroids,
        expert_of=clusters.expert_of,
        spots=clusters.spots,
        about=np.array(json.dumps(about, ensure_ascii=False)),
    )
    atomic_write(path, stream.getvalue())


def read_clusters(path: Path, fingerprint: str | None = None) -> Clusters:
    """Read what `write_clusters` wrote.

    Args:
        path: The file.
        fingerprint: What the clusters must have been made of; None: anything.

    Raises:
        CheckpointIncompleteError: The file is missing or damaged.
        UsageError: It is of another training.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            clusters = Clusters(
                arrays["centroids"],
                tuple(about["organs"]),
                arrays["expert_of"],
                arrays["spots"],
                {int(size): value for size, value in about["wcss"].items()},
                about["seed"],
                about["shuffled"],
                tuple(about["notes"]),
                about.get("merged", 0),
            )
        whole, made_of = about["digest"] == clusters.digest, about["fingerprint"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile):
        whole = False
    if not whole:
        raise CheckpointIncompleteError(f"{path} is missing or damaged. Start the training again in a new folder.")
    if fingerprint is not None and made_of != fingerprint:
        raise UsageError(
            f"{path} is of another training: other data, another encoder or other settings. Put this training's own "
            "file back, or start again in a new folder."
        )
    return clusters
