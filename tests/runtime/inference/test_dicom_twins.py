"""One slide in four files: the tile grid is the same, and embeddings differ only as the pixels' coding does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
import pytest

from haiku_edge.runtime.inference import PredictOptions, predict

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
SVS = DATA / "svs/CMU-1-Small-Region.svs"
TWINS = {
    # The very JPEGs of the SVS.
    "dicom/derived_from_svs/CMU_passthrough": 0.999999,
    # Coded again as JPEG 2000: mean difference 0.23 grey levels.
    "dicom/derived_from_svs/CMU_j2k": 0.999,
    # Coded again as JPEG in another colour space: mean difference 3.4 grey levels.
    "dicom/jcupitt_cmu1": 0.95,
}

pytestmark = pytest.mark.skipif(not SVS.exists(), reason="the shared slides are not beside the repository")


@cache
def _tiles(slide: Path) -> pa.Table:
    return predict(slide, None, PredictOptions(out=Path(mkdtemp()))).tiles


@pytest.mark.parametrize(("twin", "least_cosine"), TWINS.items())
def test_a_dicom_twin_gives_the_grid_and_the_embeddings_of_the_svs(twin: str, least_cosine: float) -> None:
    ours, theirs = _tiles(SVS), _tiles(DATA / twin)
    assert ours.num_rows > 10
    assert all(ours[name].equals(theirs[name]) for name in ("column", "row", "x", "y"))
    a, b = (np.stack(table["vector"].to_numpy(zero_copy_only=False)) for table in (ours, theirs))
    cosine = np.einsum("nd,nd->n", a, b)
    print(f"{twin}: cosine {cosine.min():.6f} at least, {cosine.mean():.6f} on average")
    assert cosine.min() >= least_cosine
