"""A plausible run for the tests of the outputs: painted tissue, measured patches, and all sections of a result.

The tissue and the patches are drawn with numpy and OpenCV; the numbers follow from them and from a fixed seed, so that
a test can compute anew what an output must say.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from haiku_edge.runtime.report import ReportImages, Result

MARKERS = (
    "DAPI",
    "PanCK",
    "Ki67",
    "Vimentin",
    "SMA",
    "CD31",
    "CD3",
    "CD4",
    "CD8",
    "FOXP3",
    "CD20",
    "CD68",
    "CD163",
    "HLA-DR",
    "PD-1",
    "PD-L1",
    "ER/PR",
    "HER2",
)
UNMEASURED = "HER2"
ABSTAINED = "ER/PR"
COLUMNS, ROWS = 20, 14
EXTENT = 512.5
SCALE = 16.0
DIMENSION = 16
_DIGEST = "4f1c6f0f0b7d1f5d7f9a2f4a6f3e0c9b8a7d6e5f4c3b2a190817161514131211"


@dataclass(frozen=True, slots=True)
class Sample:
    """What `write_outputs` takes."""

    result: Result
    tiles: pa.Table
    images: ReportImages


def tissue(height: int, width: int, seed: int = 3) -> np.ndarray:
    """Painted H&E: eosin clouds with haematoxylin nuclei on a lobed piece of tissue; (height, width, 3) uint8."""
    random = np.random.default_rng(seed)

    def clouds(cell: float) -> np.ndarray:
        noise = random.random((max(2, int(height / cell) + 2), max(2, int(width / cell) + 2))).astype(np.float32)
        return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)

    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = np.hypot((across / width - 0.5) * 1.02, (down / height - 0.5) * 1.02) + 0.22 * (clouds(height / 5) - 0.5)
    inside = cv2.GaussianBlur((radius < 0.43).astype(np.float32), (0, 0), 1.5)
    nuclei = cv2.GaussianBlur((clouds(3) * clouds(height / 9) > 0.42).astype(np.float32), (0, 0), 0.8)
    eosin = 0.35 + 0.5 * clouds(height / 12) + 0.15 * clouds(6)
    density = inside[..., None] * (eosin[..., None] * [0.10, 0.62, 0.28] + nuclei[..., None] * [0.85, 0.95, 0.35])
    return np.rint(244 * np.exp(-density)).clip(0, 255).astype(np.uint8)


def close_up(seed: int, size: int = 256) -> np.ndarray:
    """Painted H&E at cell level, (size, size, 3) uint8."""
    random = np.random.default_rng(seed)
    density = np.zeros((size, size, 3), dtype=np.float32) + np.array([0.08, 0.42, 0.2], dtype=np.float32)
    density *= (
        0.7
        + 0.6
        * cv2.resize(random.random((9, 9)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    )
    mask = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(random.integers(60, 160))):
        centre = random.integers(0, size, 2).tolist()
        axes = random.integers(4, 9, 2).tolist()
        cv2.ellipse(
            mask, centre, axes, float(random.uniform(0, 180)), 0, 360, float(random.uniform(0.5, 1)), -1, cv2.LINE_AA
        )
    density += cv2.GaussianBlur(mask, (0, 0), 0.9)[..., None] * np.array([0.95, 1.0, 0.4], dtype=np.float32)
    return np.rint(244 * np.exp(-density)).clip(0, 255).astype(np.uint8)


def _channel(seed: int, brightness: float, size: int = 64) -> np.ndarray:
    random = np.random.default_rng(seed)
    picture = np.zeros((size, size), dtype=np.float32)
    for x, y in random.uniform(0, size, (int(12 + 60 * brightness), 2)):
        cv2.circle(
            picture, (int(x), int(y)), int(random.integers(1, 4)), float(random.uniform(0.4, 1)), -1, cv2.LINE_AA
        )
    picture = cv2.GaussianBlur(picture, (0, 0), 0.7) * (0.4 + 0.6 * brightness) + random.normal(
        0.03, 0.02, (size, size)
    )
    return np.rint(255 * picture).clip(0, 255).astype(np.uint8)


def _webp(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=80)
    return stream.getvalue()


def _tiles(overview: np.ndarray, random: np.random.Generator) -> pa.Table:
    rows: list[dict[str, object]] = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            x, y = math.floor(column * EXTENT + 0.5), math.floor(row * EXTENT + 0.5)
            part = overview[int(y / SCALE) : int((y + EXTENT) / SCALE), int(x / SCALE) : int((x + EXTENT) / SCALE)]
            share = float((part.mean(axis=2) < 225).mean())
            if share > 0.35:
                rows.append({"column": column, "row": row, "x": x, "y": y, "extent": EXTENT, "tissue": share})
    status = random.choice(["predicted", "abstained", "blur", "unreadable"], len(rows), p=[0.89, 0.07, 0.03, 0.01])
    status[:4] = ["predicted", "abstained", "blur", "unreadable"]
    table = {name: pa.array([item[name] for item in rows], _TYPES[name]) for name in _TYPES}
    said = status == "predicted"
    column = np.array([item["column"] for item in rows], dtype=np.float32) / COLUMNS
    row = np.array([item["row"] for item in rows], dtype=np.float32) / ROWS
    table["sharpness"] = pa.array(random.uniform(20, 90, len(rows)).astype(np.float32))
    table["status"] = pa.array(status.tolist(), pa.string())
    table["similarity"] = _nullable(random.uniform(0.5, 0.95, len(rows)), status != "unreadable")
    table["percentile"] = _nullable(random.uniform(2, 98, len(rows)), status != "unreadable")
    for index, marker in enumerate(MARKERS):
        angle = 2.4 * index
        z = (
            1.5 * np.sin(5 * (column * np.cos(angle) + row * np.sin(angle)) + index)
            + 0.9 * np.cos(index)
            + random.normal(0, 0.2, len(rows))
        )
        there = said & (marker not in (UNMEASURED, ABSTAINED))
        for name, values in (
            (marker, z),
            (f"{marker}_low", z - 0.7),
            (f"{marker}_high", z + 0.8),
            (f"{marker}_spread", np.abs(z) / 3),
            (f"{marker}_without_notes", z * 0.8),
        ):
            table[name] = _nullable(values, there)
    read = np.isin(status, ("predicted", "abstained"))
    weight = np.exp(random.normal(size=len(rows))) * read
    high = random.uniform(0, 1, len(rows))
    for name, values in (
        ("head_stage_attention", weight / weight.sum()),
        ("head_os_attention", weight**2 / (weight**2).sum()),
        ("head_grade_low", 1 - high),
        ("head_grade_high", high),
    ):
        table[name] = _nullable(values, read)
    vectors = random.normal(size=(len(rows), DIMENSION)).astype(np.float32)
    table["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION)
    return pa.table(table)


_TYPES = {
    "column": pa.int32(),
    "row": pa.int32(),
    "x": pa.int32(),
    "y": pa.int32(),
    "extent": pa.float32(),
    "tissue": pa.float32(),
}


def _nullable(values: np.ndarray, there: np.ndarray) -> pa.Array:
    return pa.array(np.asarray(values, dtype=np.float32), mask=~there)


def _patch(index: int) -> dict[str, object]:
    random = np.random.default_rng(1000 + index)
    panel = "immune" if index % 3 else "full"
    measured = [
        name for name in MARKERS if name != UNMEASURED and (panel == "full" or name not in ("SMA", "CD31", ABSTAINED))
    ]
    return {
        "patch": f"S{index % 7:03d}-{index:05d}",
        "section": f"S{index % 7:03d}",
        "patient": f"P{index % 11:04d}",
        "organ": ("colon", "breast", "lung")[index % 3],
        "panel": panel,
        "markers": [
            {"marker": name, "intensity": float(40 + 30 * z), "z": float(z)}
            for name, z in zip(measured, random.normal(0.2, 0.9, len(measured)), strict=True)
        ],
    }


def _neighbours(tile: int) -> list[dict[str, object]]:
    weights = np.exp(-np.arange(5) / 3.0)
    weights /= weights.sum()
    return [
        {
            "rank": rank + 1,
            **_patch((tile * 3 + rank) % 31),
            "score": 0.81 - 0.02 * rank,
            "he_similarity": 0.88 - 0.023 * rank,
            "text_similarity": 0.41 + 0.01 * rank,
            "percentile": 91.4 - 7.3 * rank,
            "weight": float(weights[rank]),
        }
        for rank in range(5)
    ]


def _mean(tiles: pa.Table, name: str) -> float | None:
    values = tiles[name].drop_null().to_numpy()
    return float(values.mean()) if len(values) else None


def _biomarker(tiles: pa.Table, marker: str) -> dict[str, object]:
    status, reason = "predicted", None
    if marker == UNMEASURED:
        status, reason = "unmeasured", "No patch in the atlas measured it."
    if marker == ABSTAINED:
        status, reason = "abstained", "Too few of the neighbours measured it."
    values = tiles[marker].drop_null().to_numpy()
    value = _mean(tiles, marker)
    without = {"value": None, "low": None, "high": None}
    if value is not None:
        without = {"value": value * 0.8, "low": value * 0.8 - 0.5, "high": value * 0.8 + 0.6}
    return {
        "marker": marker,
        "status": status,
        "reason": reason,
        "value": value,
        "low": None if value is None else value - 0.41,
        "high": None if value is None else value + 0.47,
        "intensity": None if value is None else 42.0 + 20 * value,
        "spread": _mean(tiles, f"{marker}_spread"),
        "tile_p10": float(np.percentile(values, 10)) if len(values) else None,
        "tile_p90": float(np.percentile(values, 90)) if len(values) else None,
        "tiles": len(values),
        "measured_share": 0.0 if marker == UNMEASURED else 0.12 if marker == ABSTAINED else 0.84,
        "without_notes": without,
        "named_in_notes": marker == "PD-L1",
    }


def build(overview: np.ndarray | None = None) -> Sample:
    """The sample; `overview` replaces the painted slide, (h, w, 3) uint8 at `SCALE` level-0 pixels a pixel."""
    random = np.random.default_rng(11)
    picture = tissue(int(ROWS * EXTENT / SCALE), int(COLUMNS * EXTENT / SCALE)) if overview is None else overview
    tiles = _tiles(picture, random)
    status = np.array(tiles["status"].to_pylist())
    counts = {name: int((status == name).sum()) for name in ("predicted", "abstained", "blur", "unreadable")}
    chosen = np.flatnonzero(status == "predicted")[:: max(1, counts["predicted"] // 7)][:7].tolist()
    chosen.append(int(np.flatnonzero(status == "abstained")[-1]))
    result = Result.model_validate(_result(tiles, counts, chosen, picture))
    patches = {item.patch: item for row in result.evidence for item in row.neighbours}
    channels = {
        name: {
            item.marker: _webp(_channel(hash_of(name, item.marker), 1 / (1 + np.exp(-item.z))))
            for item in patch.markers
        }
        for name, patch in patches.items()
    }
    colours = (("DAPI", (60, 90, 255)), ("PanCK", (255, 200, 60)), ("CD3", (60, 220, 120)))
    composites = {
        name: _composite(name, dict.fromkeys(item.marker for item in patch.markers), colours)
        for name, patch in patches.items()
    }
    close_ups = {tile: close_up(tile) for tile in chosen}
    return Sample(result, tiles, ReportImages(picture, SCALE, close_ups, composites, channels, colours))


def hash_of(*words: str) -> int:
    """A seed from words, the same in every process."""
    return zlib.crc32("/".join(words).encode())


def _composite(name: str, markers: dict[str, None], colours: tuple[tuple[str, tuple[int, int, int]], ...]) -> bytes:
    picture = np.zeros((128, 128, 3), dtype=np.float32)
    for marker, colour in colours:
        if marker in markers:
            picture += _channel(hash_of(name, marker), 0.5, 128)[..., None] / 255 * np.array(colour, dtype=np.float32)
    return _webp(picture.clip(0, 255).astype(np.uint8))


def _result(tiles: pa.Table, counts: dict[str, int], chosen: list[int], picture: np.ndarray) -> dict[str, object]:
    status = tiles["status"].to_pylist()
    background = ROWS * COLUMNS - len(tiles) - 7
    unreadable = [
        {"x": tiles["x"][i].as_py(), "y": tiles["y"][i].as_py(), "reason": "the JPEG data ends early"}
        for i in range(len(tiles))
        if status[i] == "unreadable"
    ]
    return {
        "product": "haiku-edge 0.1.0",
        "bundle": {
            "name": "haiku-synthetic",
            "version": "1.0",
            "digest": _DIGEST,
            "synthetic": True,
            "patches": 5280,
            "patients": 96,
            "statement": "Its towers, atlas and intervals were made from simulated tissue: "
            "its numbers show how the software works and say nothing about any patient.",
        },
        "device": {
            "requested": "auto",
            "used": "cpu",
            "precision": "fp32",
            "provider": "ONNX Runtime 1.31.1, CPUExecutionProvider",
            "name": "Intel Xeon Processor (Icelake)",
            "threads": 2,
            "reason": "no CUDA device is present",
        },
        "slide": {
            "name": "demo-colon-0042",
            "format": "Aperio SVS",
            "reader": "tiff-jpeg",
            "sha256": _DIGEST[::-1],
            "width": int(picture.shape[1] * SCALE),
            "height": int(picture.shape[0] * SCALE),
            "levels": 3,
            "mpp_x": 0.2498,
            "mpp_y": 0.2498,
            "mpp_source": "aperio.MPP",
            "stain": {"looks_like": "H&E", "reason": "Both stains were found, at 58° to each other."},
            "warnings": ["The slide has no colour profile; its colours were taken as sRGB."],
        },
        "tiles": {
            "size": 256,
            "mpp": 0.2498 * EXTENT / 256,
            "level": 0,
            "extent": EXTENT,
            "grid": ROWS * COLUMNS,
            "background": background,
            "pen": 4,
            "fold": 3,
            **counts,
            "unreadable_tiles": unreadable,
        },
        "notes": {
            "given": True,
            "facts": {
                "tissue_type": "colon",
                "diagnosis": "adenocarcinoma, PD-L1 <high>",
                "sex": "female",
                "stage": "III",
            },
            "prompt": "The following is a clinical description of a tissue sample. Tissue type: colon. "
            "Diagnosis: adenocarcinoma, PD-L1 <high>. Sex: female. Stage: III.",
            "tokens": 231,
            "truncated": True,
            "dropped": ["2 names", "1 date of birth"],
            "markers_named": ["PD-L1"],
            "warnings": [],
        },
        "parameters": {
            "text_weight": 0.2,
            "neighbours": 5,
            "temperature": 0.07,
            "excluded_patients": [],
            "batch_size": 32,
        },
        "calibration": {
            "method": "split-conformal by patient, on the absolute error of the slide's mean",
            "coverage": 0.9,
            "patients": 24,
            "cases": 312,
            "similarity_threshold": 0.5512,
            "abstention_rate": 0.05,
        },
        "biomarkers": [_biomarker(tiles, marker) for marker in MARKERS],
        "evidence": [_evidence(tiles, tile, position) for position, tile in enumerate(chosen)],
        "heads": heads(tiles),
        "warnings": ["This is the synthetic demonstration bundle: nothing in this report describes a patient."],
        "timing": {"open": 0.0312, "overview": 0.2215, "embed": 12.8731, "search": 0.0154, "total": 13.4021},
    }


def heads(tiles: pa.Table) -> list[dict[str, object]]:
    """A head of each kind and one that refuses."""
    common: dict[str, object] = {
        "features": "he",
        "status": "predicted",
        "reason": None,
        "tiles": len(tiles) - tiles["head_stage_attention"].null_count,
        "classes": [],
        "risk": None,
        "half_of_attention": 21,
        "coverage": 0.9,
        "patients": 96,
        "method": "calibrated on out-of-fold predictions",
        "metrics": {"folds": 5, "auroc": {"value": 0.8123, "low": 0.7011, "high": 0.8934}, "settings": {"width": 64}},
        "warnings": ["Calibrated on the head's own training patients."],
    }
    stage = [("I", 0.12, False), ("II", 0.55, True), ("III", 0.33, True)]
    survival = [(12.0, 0.91, 0.84, 0.96), (36.0, 0.62, 0.5, 0.73), (60.0, None, None, None)]
    risk = {"score": 0.61, "percentile": 77.5, "low": 58.0, "high": 91.0, "group": "high", "hazard_ratio": 1.84}
    points = [dict(zip(("months", "probability", "low", "high"), point, strict=True)) for point in survival]
    kinds = [
        {"name": "stage", "kind": "slide_classifier", "target": "stage", "classes": [_class(*one) for one in stage]},
        {"name": "os", "kind": "survival", "target": "overall_survival", "risk": risk | {"survival": points}},
        {
            "name": "grade",
            "kind": "tile_classifier",
            "target": "grade",
            "half_of_attention": None,
            "classes": [_class("low", 0.7, None, 90), _class("high", 0.3, None, 31)],
        },
        {
            "name": "response",
            "kind": "slide_classifier",
            "target": "response",
            "features": "he+text",
            "status": "refused",
            "reason": "it reads clinical notes, and none were given",
            "half_of_attention": None,
        },
    ]
    return [common | kind for kind in kinds]


def _class(name: str, probability: float, in_set: bool | None, tiles: int | None = None) -> dict[str, object]:
    return {"name": name, "probability": probability, "in_set": in_set, "tiles": tiles}


_WHY = (
    "Closest to the slide’s average",
    "Highest PD-L1",
    "Highest CD8",
    "Lowest Ki67",
    "Best-supported tile",
    "Least-supported tile with an estimate",
    "Widest spread of evidence",
    "Abstained: far from everything in the atlas",
)


def _evidence(tiles: pa.Table, tile: int, position: int) -> dict[str, object]:
    return {
        "tile": tile,
        "x": tiles["x"][tile].as_py(),
        "y": tiles["y"][tile].as_py(),
        "why": _WHY[position],
        "status": tiles["status"][tile].as_py(),
        "similarity": tiles["similarity"][tile].as_py(),
        "percentile": tiles["percentile"][tile].as_py(),
        "neighbours": _neighbours(tile),
    }
