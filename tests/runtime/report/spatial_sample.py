"""The sample run with genes: estimates, experts that lie in patches over the tissue, and drawn spots."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from haiku_edge.runtime.report import ReportImages, Result

from . import sample

NAMES = ("EPCAM", "HLA-DRB1", "<b>", "KRT20", "COL1A1", "CD3E", "MKI67", "expert")
SILENT = "MKI67"
EXPERTS = 5
SPOTS = 10
DIMENSION = 8


def build(genes: int = len(NAMES), experts: int = EXPERTS, *, proteins: bool = False) -> sample.Sample:
    """A run with genes, with or without proteins.

    Args:
        genes: How many; beyond `NAMES` they are numbered.
        experts: How many; the last weighs most nowhere.
        proteins: Whether the run tells of proteins too.
    """
    base = sample.build()
    names = [*NAMES, *(f"GENE{number}" for number in range(len(NAMES), genes))][:genes]
    tiles = _table(base.tiles, names, experts, proteins)
    chosen = _chosen(tiles)
    spatial = _spatial(tiles, names, experts, chosen)
    haiku = {} if proteins else _without_proteins(base.result)
    result = Result.model_validate(base.result.model_dump() | haiku | {"spatial": spatial})
    return sample.Sample(result, tiles, _images(base.images, chosen, spatial, proteins))


def _without_proteins(result: Result) -> dict[str, object]:
    notes = {"given": False, "facts": {}, "prompt": None, "tokens": 0, "truncated": False, "dropped": []}
    return {
        "biomarkers": [],
        "evidence": [],
        "heads": [],
        "calibration": None,
        "notes": notes | {"markers_named": [], "warnings": []},
        "bundle": result.bundle.model_dump() | {"patches": 0, "patients": 0},
    }


def _table(base: pa.Table, names: list[str], experts: int, proteins: bool) -> pa.Table:
    random = np.random.default_rng(23)
    own = [name for name in base.column_names if proteins or name in _COMMON]
    table = {name: base[name] for name in own}
    status = np.array(base["status"].to_pylist())
    read = np.isin(status, ("predicted", "abstained"))
    place = np.stack([base[name].to_numpy() for name in ("column", "row")], axis=1).astype(float)
    middles = [random.uniform(2, side - 2, experts - 1) for side in (sample.COLUMNS, sample.ROWS)]
    centres = np.stack(middles, axis=1)
    away = np.linalg.norm(place[:, None] - centres[None], axis=-1)
    weights = np.exp(-1.5 * away)
    weights = np.hstack([weights / weights.sum(axis=1, keepdims=True), np.zeros((len(place), 1))]).astype(np.float32)
    table["spade_status"] = base["status"]
    table["spade_similarity"] = base["similarity"]
    table["spade_percentile"] = base["percentile"]
    table["expert"] = pa.array((weights.argmax(axis=1) + 1).astype(np.int32), mask=~read)
    for index, name in enumerate(names):
        angle = 1.7 * index
        wave = np.sin(4 * (place[:, 0] * np.cos(angle) + place[:, 1] * np.sin(angle)) / sample.COLUMNS + index)
        z = (0.4 + 0.1 * (index % 9)) * wave + 0.9 * np.cos(2.1 * index) + random.normal(0, 0.15, len(place))
        there = (status == "predicted") & (name != SILENT)
        columns = {"": z, "_low": z - 0.6, "_high": z + 0.7, "_spread": np.abs(z) / 2}
        table |= {f"gene_{name}{end}": _nullable(values, there) for end, values in columns.items()}
    table["expert_weights"] = pa.FixedSizeListArray.from_arrays(pa.array(weights.ravel()), experts)
    embedding = random.normal(size=(len(place), DIMENSION)).astype(np.float32)
    table["spade_embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(embedding.ravel()), DIMENSION)
    return pa.table(table)


_COMMON = ("column", "row", "x", "y", "extent", "tissue", "sharpness", "status", "similarity", "percentile")


def _nullable(values: np.ndarray, there: np.ndarray) -> pa.Array:
    return pa.array(np.asarray(values, dtype=np.float32), mask=~there)


def _chosen(tiles: pa.Table) -> list[int]:
    predicted = np.flatnonzero(np.array(tiles["status"].to_pylist()) == "predicted")
    return [int(tile) for tile in predicted[:: max(1, len(predicted) // 4)][:4]]


def _spatial(tiles: pa.Table, names: list[str], experts: int, chosen: list[int]) -> dict[str, object]:
    weights = np.array(tiles["expert_weights"].to_pylist(), np.float32)
    read = np.array([value is not None for value in tiles["expert"].to_pylist()])
    heaviest = weights[read].argmax(axis=1)
    status = tiles["status"].to_pylist()
    organs = ("colon", "breast", "lung", "kidney")
    return {
        "device": {
            "requested": "auto",
            "used": "cpu",
            "provider": "ONNX Runtime 1.31.1, CPUExecutionProvider",
            "precision": "fp32",
            "name": "Intel Xeon Processor (Icelake)",
            "threads": 2,
            "reason": "no CUDA device is present",
        },
        "tile_size": 224,
        "mpp": sample.EXTENT * 0.2498 / 256,
        "spots": 4217,
        "patients": 18,
        "keys": "image",
        "neighbours": 40,
        "predicted": status.count("predicted"),
        "abstained": status.count("abstained"),
        "calibration": {
            "method": "split-conformal by patient",
            "coverage": 0.9,
            "patients": 9,
            "cases": 118,
            "similarity_threshold": 0.4312,
            "abstention_rate": 0.05,
        },
        "genes": [_gene(tiles, name) for name in names],
        "evidence": [_evidence(tiles, tile, position, names) for position, tile in enumerate(chosen)],
        "experts": [
            {
                "expert": number + 1,
                "share": float(weights[read, number].mean()),
                "tiles": int((heaviest == number).sum()),
                "spots": 300 - 17 * number if number < experts - 1 else 0,
                "organs": [organs[number % 4], organs[(number + 1) % 4]] if number < experts - 1 else [],
                "genes": [names[(5 * number + step) % len(names)] for step in range(8)] if number < experts - 1 else [],
            }
            for number in range(experts)
        ],
        "experts_a_tile": 1.7321,
    }


def _gene(tiles: pa.Table, name: str) -> dict[str, object]:
    values = tiles[f"gene_{name}"].drop_null().to_numpy()
    if not len(values):
        empty = dict.fromkeys(("value", "low", "high", "expression", "spread", "tile_p10", "tile_p90"))
        return empty | {"gene": name, "status": "unmeasured", "reason": "no spot measured it", "tiles": 0}
    value = float(values.mean())
    return {
        "gene": name,
        "status": "predicted",
        "reason": None,
        "value": value,
        "low": value - 0.31,
        "high": value + 0.36,
        "expression": 1.2 + 0.8 * abs(value),
        "spread": float(tiles[f"gene_{name}_spread"].drop_null().to_numpy().mean()),
        "tile_p10": float(np.percentile(values, 10)),
        "tile_p90": float(np.percentile(values, 90)),
        "tiles": len(values),
    }


_WHY = ("closest to the slide's average appearance", "looks most unlike those shown before")


def _evidence(tiles: pa.Table, tile: int, position: int, names: list[str]) -> dict[str, object]:
    values = {name: tiles[name][tile].as_py() for name in ("x", "y", "status", "similarity", "percentile", "expert")}
    spots = [_spot((7 * position + rank) % 23, rank, names) for rank in range(SPOTS)]
    return {"tile": tile, "why": _WHY[min(position, 1)], **values, "neighbours": spots}


def _spot(index: int, rank: int, names: list[str]) -> dict[str, object]:
    random = np.random.default_rng(500 + index)
    z = random.normal(0, 1.2, min(12, len(names)))
    order = np.argsort(-np.abs(z))
    return {
        "rank": rank + 1,
        "spot": f"P{index % 9:03d}-A_{index:02d}x{3 * index:02d}",
        "section": f"P{index % 9:03d}-A",
        "patient": f"P{index % 9:03d}",
        "organ": ("colon", "breast", "lung")[index % 3],
        "similarity": 0.93 - 0.017 * rank,
        "percentile": 88.0 - 6.1 * rank,
        "weight": 0.031 - 0.001 * rank,
        "genes": [{"gene": names[g], "expression": float(abs(z[g])), "z": float(z[g])} for g in order.tolist()],
    }


def _images(base: ReportImages, chosen: list[int], spatial: dict[str, object], proteins: bool) -> ReportImages:
    tiles = {tile: sample.close_up(tile) for tile in chosen}
    spots = {
        spot["spot"]: _picture(spot["spot"])
        for row in spatial["evidence"]  # type: ignore[attr-defined]
        for spot in row["neighbours"]
    }
    if not proteins:
        return ReportImages(base.overview, base.scale, tiles, {}, {}, (), spots)
    return ReportImages(
        base.overview, base.scale, base.tiles | tiles, base.composites, base.channels, base.composite_legend, spots
    )


def _picture(name: str) -> bytes:
    stream = io.BytesIO()
    pixels = cv2.resize(sample.close_up(sample.hash_of(name) % 10_000), (112, 112), interpolation=cv2.INTER_AREA)
    Image.fromarray(pixels).save(stream, "WEBP", quality=80)
    return stream.getvalue()
