"""Small sections as the real tools write them, around one painted picture whose colours tell where a patch was cut."""

from __future__ import annotations

import gzip
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_matrix

MPP = 0.5
PITCH = 100 / MPP
"""Distance of neighbouring spots, pixels."""


@dataclass(frozen=True)
class Drawn:
    """A section that was drawn.

    Attributes:
        genes: Names.
        spots: Barcodes.
        rows: (n,) on the grid.
        columns: (n,) on the grid.
        x: (n,) pixels.
        y: (n,) pixels.
        in_tissue: (n,) 0 or 1.
        counts: (n, g) whole numbers.
        image: (h, w, 3) uint8: red grows to the right, green downwards.
    """

    genes: tuple[str, ...]
    spots: NDArray[np.str_]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    in_tissue: NDArray[np.int64]
    counts: NDArray[np.int64]
    image: NDArray[np.uint8]


def draw(seed: int = 0, *, rows: int = 6, across: int = 5, genes: int = 40, prefix: str = "G") -> Drawn:
    """A Visium-like grid; two spots lie outside the tissue."""
    rng = np.random.default_rng(seed)
    places = [(row, 2 * column + row % 2) for row in range(rows) for column in range(across)]
    row, column = np.array(places).T
    x, y = 200 + column * PITCH / 2, 200 + row * PITCH * np.sqrt(3) / 2
    height, width = int(y.max()) + 200, int(x.max()) + 200
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)[None]
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    image[..., 2] = 128
    abundance = np.exp(rng.normal(0, 1.2, genes))
    count = rng.poisson(abundance * rng.gamma(2, 0.5, (len(row), genes)))
    inside = np.ones(len(row), np.int64)
    inside[[0, 7]] = 0
    barcodes = np.array([f"ACGT{place:04d}-1" for place in rng.permutation(len(row))])
    return Drawn(tuple(f"{prefix}{i}" for i in range(genes)), barcodes, row, column, x, y, inside, count, image)


def write_space_ranger(
    folder: Path,
    drawn: Drawn,
    *,
    positions: str = "tissue_positions.csv",
    matrix: str = "h5",
    hires: float | None = None,
    grid: bool = True,
) -> Path:
    """As Space Ranger does; `hires` is the scale of the picture that comes along."""
    spatial = folder / "spatial"
    spatial.mkdir(parents=True)
    inside = drawn.in_tissue == 1
    (_write_h5 if matrix == "h5" else _write_mtx)(folder, drawn, inside)
    _write_positions(spatial / positions, drawn, grid)
    scales = {"spot_diameter_fullres": 65 / MPP, "tissue_hires_scalef": hires or 0.1}
    (spatial / "scalefactors_json.json").write_text(json.dumps(scales))
    if hires:
        size = round(drawn.image.shape[1] * hires), round(drawn.image.shape[0] * hires)
        Image.fromarray(drawn.image).resize(size, Image.Resampling.BOX).save(spatial / "tissue_hires_image.png")
    return folder


def _write_h5(folder: Path, drawn: Drawn, inside: NDArray[np.bool_]) -> None:
    kept = csr_matrix(drawn.counts[inside])
    # A protein measured along, which is no gene.
    names = [*drawn.genes, "CD3 protein"]
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = drawn.spots[inside].astype("S18")
        group["data"], group["indices"], group["indptr"] = kept.data, kept.indices, kept.indptr
        group["shape"] = np.array([len(names), inside.sum()])
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{i:011d}" for i in range(len(names))], "S15")
        features["name"] = np.array(names, "S16")
        features["feature_type"] = np.array(["Gene Expression"] * len(drawn.genes) + ["Antibody Capture"], "S16")


def _write_mtx(folder: Path, drawn: Drawn, inside: NDArray[np.bool_]) -> None:
    place = folder / "filtered_feature_bc_matrix"
    place.mkdir()
    with gzip.open(place / "matrix.mtx.gz", "wb") as file:
        scipy.io.mmwrite(file, csr_matrix(drawn.counts[inside].T))
    features = "".join(f"ENSG{i:011d}\t{gene}\tGene Expression\n" for i, gene in enumerate(drawn.genes))
    (place / "features.tsv.gz").write_bytes(gzip.compress(features.encode()))
    (place / "barcodes.tsv.gz").write_bytes(gzip.compress("\n".join(drawn.spots[inside]).encode()))


def _write_positions(path: Path, drawn: Drawn, grid: bool) -> None:
    rows, columns = (drawn.rows, drawn.columns) if grid else (np.zeros(len(drawn.rows), int),) * 2
    table = pd.DataFrame(
        {
            "barcode": drawn.spots,
            "in_tissue": drawn.in_tissue,
            "array_row": rows,
            "array_col": columns,
            "pxl_row_in_fullres": drawn.y,
            "pxl_col_in_fullres": drawn.x,
        }
    )
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False, header=not path.stem.endswith("_list"))


def as_anndata(drawn: Drawn) -> anndata.AnnData:
    """As scanpy holds a section."""
    obs = pd.DataFrame(
        {"in_tissue": drawn.in_tissue, "array_row": drawn.rows, "array_col": drawn.columns}, index=drawn.spots
    )
    return anndata.AnnData(
        csr_matrix(drawn.counts.astype(np.float32)),
        obs=obs,
        var=pd.DataFrame(index=list(drawn.genes)),
        obsm={"spatial": np.stack([drawn.x, drawn.y], axis=1)},
    )


def write_spatialdata(folder: Path, drawn: Drawn, scale: float = 0.5, others: int = 0) -> Path:
    """As spatialdata does: the picture is a smaller one, shifted by (10, 20) pixels of the common system.

    The first `others` spots are said to be of another region.
    """
    zarr.create_group(folder)
    for name in ("tables", "shapes", "images"):
        zarr.create_group(folder / name)
    table = as_anndata(drawn)
    table.obs["region"] = pd.Categorical(["others"] * others + ["spots"] * (len(drawn.spots) - others))
    table.obs["spot_id"] = np.arange(len(drawn.spots))
    table.uns["spatialdata_attrs"] = {"region": "spots", "region_key": "region", "instance_key": "spot_id"}
    del table.obsm["spatial"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next version will write
        table.write_zarr(folder / "tables" / "table")
    shapes = zarr.create_group(folder / "shapes" / "spots")
    shapes.attrs["coordinateTransformations"] = [_step("xy", "global", {"type": "identity"})]
    order = np.random.default_rng(1).permutation(len(drawn.spots))
    points = [b"\x01\x01\x00\x00\x00" + np.array([drawn.x[i], drawn.y[i]], "<f8").tobytes() for i in order]
    circles = {"radius": np.full(len(order), 55.0), "geometry": pa.array(points, pa.binary()), "spot_id": order}
    pq.write_table(pa.table(circles), folder / "shapes" / "spots" / "shapes.parquet")
    small = drawn.image[:: round(1 / scale), :: round(1 / scale)]
    _write_image(folder / "images" / "small", small, scale)
    _write_image(folder / "images" / "smaller", small[::2, ::2], scale / 2)
    return folder


def _write_image(folder: Path, image: NDArray[np.uint8], scale: float) -> None:
    group = zarr.create_group(folder)
    levels = {"0": image, "1": image[::2, ::2]}
    for name, level in levels.items():
        group.create_array(name, data=np.ascontiguousarray(np.moveaxis(level, -1, 0)), chunks=(3, 128, 128))
    parts = [
        {"type": "scale", "scale": [1.0, 1 / scale, 1 / scale]},
        {"type": "translation", "translation": [0.0, 20.0, 10.0]},
    ]
    step = _step(
        "cyx", "global", {"type": "sequence", "transformations": [_step("cyx", "cyx", part) for part in parts]}
    )
    scales = [{"path": name, "coordinateTransformations": []} for name in levels]
    group.attrs["ome"] = {"multiscales": [{"datasets": scales, "coordinateTransformations": [step]}]}


def _step(own: str, other: str, kind: dict[str, object]) -> dict[str, object]:
    axes = [{"name": axis} for axis in own]
    return {**kind, "input": {"name": own, "axes": axes}, "output": {"name": other, "axes": axes}}


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    """The table of a cohort."""
    pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def write_tiff(path: Path, image: NDArray[np.uint8], *, tiled: bool) -> Path:
    """A plain TIFF in strips, or one in tiles that slide readers take."""
    if tiled:
        tifffile.imwrite(path, image, photometric="rgb", tile=(256, 256), compression="zlib")
    else:
        tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=64)
    return path
