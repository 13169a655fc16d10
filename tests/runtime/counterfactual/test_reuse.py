"""Vectors of a finished prediction are taken only where this run would make the same; damage is never an error."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from haiku_edge.runtime.counterfactual import CounterfactualOptions, counterfactual
from haiku_edge.runtime.counterfactual.reuse import RESULT_NAME, TILES_NAME, read_finished
from haiku_edge.runtime.inference import Model, PredictOptions, open_model, predict
from haiku_edge.runtime.inference.survey import survey_slide
from haiku_edge.runtime.slide import TilePlan, open_slide, slide_digest


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished prediction, and what a run that may reuse it knows."""

    folder: Path
    plan: TilePlan
    model: Model
    digest: str


@pytest.fixture(scope="module")
def finished(small_slide: Path, notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    done = predict(small_slide, notes, PredictOptions(out=tmp_path_factory.mktemp("out")))
    model = open_model(PredictOptions())
    with contextlib.closing(open_slide(small_slide)) as slide:
        plan = survey_slide(slide, size=model.tile_size, mpp=model.mpp).plan
        return Finished(done.folder, plan, model, slide_digest(slide.info))


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Finished:
    """The same in a folder that may be damaged."""
    for name in (TILES_NAME, RESULT_NAME):
        shutil.copy(finished.folder / name, tmp_path / name)
    return replace(finished, folder=tmp_path)


def ask(own: Finished) -> object:
    return read_finished(own.folder, own.plan, own.model, own.digest)


def test_the_same_run_takes_the_vectors_as_they_are(finished: Finished) -> None:
    found = read_finished(finished.folder, finished.plan, finished.model, finished.digest)
    assert found is not None and not found.unreadable
    written = pq.read_table(finished.folder / TILES_NAME)["vector"].to_pylist()
    assert np.array_equal(found.vectors, np.array(written, np.float32))


@pytest.mark.parametrize(
    "what", [("device", "provider"), ("device", "name"), ("product",), ("slide", "sha256"), ("tiles", "mpp")]
)
def test_another_provider_processor_product_slide_or_scale_lends_nothing(copy: Finished, what: tuple[str, ...]) -> None:
    said = json.loads((copy.folder / RESULT_NAME).read_text())
    part = said if len(what) == 1 else said[what[0]]
    part[what[-1]] = "another"
    (copy.folder / RESULT_NAME).write_text(json.dumps(said))
    assert ask(copy) is None


def cut(table: pa.Table) -> pa.Table:
    return table.slice(1)


def without_status(table: pa.Table) -> pa.Table:
    return table.drop_columns(["status"])


def with_column(name: str, values: Callable[[pa.Table], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values(table))


def short_lists(table: pa.Table) -> pa.Array:
    return pa.array([row[:-1] if i == 3 else row for i, row in enumerate(table["vector"].to_pylist())])


def no_numbers(table: pa.Table) -> pa.Array:
    flat = np.full(len(table) * len(table["vector"][0]), np.nan, np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), len(table["vector"][0]))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        without_status,
        with_column("status", lambda table: pa.nulls(len(table), pa.string())),
        with_column("x", lambda table: pa.nulls(len(table), pa.int32())),
        with_column("x", lambda table: pa.array(["?"] * len(table))),
        with_column("extent", lambda table: pa.array(np.full(len(table), 1, np.float32))),
        with_column("sharpness", lambda table: pa.array(["?"] * len(table))),
        with_column("vector", lambda table: pa.nulls(len(table), pa.list_(pa.float32()))),
        with_column("vector", lambda table: pa.array(np.zeros(len(table), np.float32))),
        with_column("vector", short_lists),
        with_column("vector", no_numbers),
    ],
)
def test_a_table_that_makes_no_sense_lends_nothing(copy: Finished, damage: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(copy.folder / TILES_NAME)
    pq.write_table(damage(table).replace_schema_metadata(table.schema.metadata), copy.folder / TILES_NAME)
    assert ask(copy) is None


@pytest.mark.parametrize("name", [TILES_NAME, RESULT_NAME])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"[]", b"\xff\xfe", None])
def test_a_file_that_is_cut_short_or_gone_lends_nothing(copy: Finished, name: str, content: bytes | None) -> None:
    if content is None:
        (copy.folder / name).unlink()
    else:
        (copy.folder / name).write_bytes(content)
    assert ask(copy) is None


def test_half_a_table_lends_nothing(copy: Finished) -> None:
    whole = (copy.folder / TILES_NAME).read_bytes()
    for kept in (len(whole) // 2, len(whole) - 9):
        (copy.folder / TILES_NAME).write_bytes(whole[:kept])
        assert ask(copy) is None
    for at in range(0, len(whole), 997):
        (copy.folder / TILES_NAME).write_bytes(whole[:at] + bytes(40) + whole[at + 40 :])
        ask(copy)  # None or, where the bytes were not needed, tiles: never an error.


def test_without_the_excluded_patients_nobody_is_counted_and_nobody_calibrates(
    finished: Finished, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    model = finished.model
    assert model.cases is not None
    gone = (*sorted({str(name) for name in model.cases.patients}), *sorted(model.atlas.facts)[:3])
    options = CounterfactualOptions(out=tmp_path, random_edits=0, exclude_patients=gone)
    result = counterfactual(small_slide, notes, ["stage=IV"], options).result
    left = [own for name, own in model.atlas.facts.items() if name not in gone]
    (edit,) = result.edits
    assert edit.atlas_patients_known == sum("stage" in own for own in left) < len(model.atlas.facts)
    assert edit.atlas_patients_after == sum(own.get("stage") == "IV" for own in left)
    assert any("No patient calibrates" in warning for warning in result.warnings)
