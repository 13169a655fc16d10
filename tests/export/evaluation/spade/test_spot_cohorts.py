"""Cohorts of embedded spots on disk, and what of them is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from haiku_edge.export.evaluation.spade import (
    FEATURES,
    ONE_EXPERT,
    SPADE,
    join_representations,
    pool_cohorts,
    read_spot_cohort,
    write_spot_cohort,
)
from haiku_edge.runtime.errors import CohortError, UnreadableDatasetError, UsageError
from tests.export.evaluation.small_cohort import small_cohort
from tests.export.evaluation.spade.planted_spots import planted_spots


def test_cohort_comes_back_as_it_was_written(tmp_path: Path) -> None:
    for number, cohort in enumerate((planted_spots(), replace(planted_spots(), expected=None, keys={}))):
        path = tmp_path / f"{number}.parquet"
        write_spot_cohort(path, cohort)
        back = read_spot_cohort(path)
        assert (back.genes, back.facts) == (cohort.genes, cohort.facts)
        assert list(back.vectors) == list(cohort.vectors) and list(back.keys) == list(cohort.keys)
        for name in ("spots", "sections", "patients", "organs", "x", "y", "expression"):
            np.testing.assert_array_equal(getattr(back, name), getattr(cohort, name))
        for name, vectors in cohort.vectors.items():
            np.testing.assert_array_equal(back.vectors[name], vectors)
        assert (back.expected is None) == (cohort.expected is None)


def test_whom_representations_learned_from_stays_with_the_cohort(tmp_path: Path) -> None:
    cohort = replace(planted_spots(patients=3), taught={SPADE: 2, ONE_EXPERT: 1})
    write_spot_cohort(tmp_path / "taught.parquet", cohort)
    assert read_spot_cohort(tmp_path / "taught.parquet").taught == {SPADE: 2, ONE_EXPERT: 1}
    assert cohort.select(cohort.patients != "P001").taught == cohort.taught
    table = pq.read_table(tmp_path / "taught.parquet")
    about = json.loads(table.schema.metadata[b"haiku_edge.spot_cohort"])
    for taught, fits in ((None, True), ([3], False), ({SPADE: "all"}, False)):
        others = {name: value for name, value in about.items() if name != "taught"}
        stated = others if taught is None else others | {"taught": taught}
        older = table.replace_schema_metadata({b"haiku_edge.spot_cohort": json.dumps(stated).encode()})
        pq.write_table(older, tmp_path / "older.parquet")
        if fits:
            assert read_spot_cohort(tmp_path / "older.parquet").taught == {}
        else:
            with pytest.raises(UnreadableDatasetError, match="damaged"):
                read_spot_cohort(tmp_path / "older.parquet")


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    cohort = planted_spots(patients=2)
    nan = cohort.vectors[SPADE].copy()
    nan[3, 1] = np.nan
    faults = {
        "finite": replace(cohort, vectors={SPADE: nan}, keys={}),
        "one row a spot": replace(cohort, vectors={SPADE: nan[:-1]}, keys={}),
        "each of": replace(cohort, genes=cohort.genes[:-1]),
        "same length": replace(cohort, keys={SPADE: cohort.keys[SPADE][:, :3]}),
        "twice": cohort.select(np.zeros(4, np.int64)),
        "no vectors": replace(cohort, vectors={}, keys={}),
    }
    for words, faulty in faults.items():
        with pytest.raises(CohortError, match=words):
            write_spot_cohort(tmp_path / "c.parquet", faulty)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path: Path) -> None:
    from haiku_edge.export.evaluation.embedded_cohort import write_cohort

    write_cohort(tmp_path / "patches.parquet", small_cohort())
    (tmp_path / "text.parquet").write_text("no table")
    write_spot_cohort(tmp_path / "cut.parquet", planted_spots(patients=2))
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder").mkdir()
    for name in ("patches.parquet", "text.parquet", "cut.parquet", "nowhere.parquet", "folder"):
        with pytest.raises(UnreadableDatasetError, match=r"Write"):
            read_spot_cohort(tmp_path / name)
    with pytest.raises(UnreadableDatasetError, match="haiku-edge spots embed"):
        read_spot_cohort(tmp_path / "nowhere.parquet")


def test_representations_of_several_models_meet_spot_by_spot_and_gene_by_gene() -> None:
    whole = planted_spots(patients=3)
    order = np.random.default_rng(0).permutation(len(whole))[:-7]
    turned = whole.select(order)
    genes = (2, 0, 5)
    one = replace(whole, vectors={SPADE: whole.vectors[SPADE]})
    two = replace(
        turned,
        genes=tuple(whole.genes[g] for g in genes),
        expression=turned.expression[:, genes],
        expected=None,
        vectors={SPADE: turned.vectors[FEATURES]},
        keys={},
    )
    three = replace(whole, vectors={"uni": whole.vectors[FEATURES]}, keys={})
    both = join_representations({SPADE: one, ONE_EXPERT: two, FEATURES: three})
    rows = np.sort(order)
    assert both.genes == ("G0", "G2", "G5") and list(both.vectors) == [SPADE, ONE_EXPERT, FEATURES]
    np.testing.assert_array_equal(both.spots, whole.spots[rows])
    np.testing.assert_array_equal(both.expression, whole.expression[rows][:, [0, 2, 5]])
    for name, source in ((SPADE, SPADE), (ONE_EXPERT, FEATURES), (FEATURES, FEATURES)):
        np.testing.assert_array_equal(both.vectors[name], whole.vectors[source][rows])
    assert list(both.keys) == [SPADE]


def test_representations_of_other_spots_are_not_joined() -> None:
    whole = planted_spots(patients=2)
    one = replace(whole, vectors={SPADE: whole.vectors[SPADE]})
    strangers = replace(one, patients=np.char.add(one.patients, "x"))
    with pytest.raises(CohortError, match="in common"):
        join_representations({SPADE: one, FEATURES: strangers})
    with pytest.raises(CohortError, match="another expression"):
        join_representations({SPADE: one, FEATURES: replace(one, expression=one.expression + 1)})
    with pytest.raises(UsageError, match="none is called"):
        join_representations({SPADE: one, FEATURES: whole}, taken="UNI")


def test_cohorts_of_other_patients_are_pooled_in_what_all_of_them_have() -> None:
    whole = planted_spots(patients=4)
    names = sorted(set(whole.patients.tolist()))
    early, late = (whole.select(np.isin(whole.patients, part)) for part in (names[:1], names[1:]))
    pooled = pool_cohorts([late, replace(early, vectors={SPADE: early.vectors[SPADE]}, expected=None)])
    order = np.concatenate([np.flatnonzero(whole.patients != names[0]), np.flatnonzero(whole.patients == names[0])])
    for name in ("spots", "sections", "patients", "organs", "x", "y", "expression"):
        np.testing.assert_array_equal(getattr(pooled, name), getattr(whole, name)[order])
    np.testing.assert_array_equal(pooled.vectors[SPADE], whole.vectors[SPADE][order])
    assert list(pooled.vectors) == [SPADE] and pooled.facts == whole.facts and pooled.expected is None


def test_cohorts_that_share_a_patient_or_measure_otherwise_are_not_pooled() -> None:
    whole = planted_spots(patients=3)
    other = replace(whole, patients=np.char.add(whole.patients, "x"))
    assert len(pool_cohorts([whole, other])) == 2 * len(whole)
    with pytest.raises(CohortError, match="a patient in common"):
        pool_cohorts([whole, whole.select(np.arange(3))])
    with pytest.raises(CohortError, match="other genes"):
        pool_cohorts([whole, replace(other, genes=tuple(reversed(other.genes)))])
    with pytest.raises(CohortError, match="no representation"):
        pool_cohorts([whole, replace(other, vectors={"UNI": other.vectors[SPADE]}, keys={})])


@pytest.mark.parametrize("kind", ["vectors", "keys"])
def test_cohorts_with_vectors_of_other_lengths_are_not_pooled(kind: str) -> None:
    whole = planted_spots(patients=3)
    shorter = {name: vectors[:, 1:] for name, vectors in getattr(whole, kind).items()}
    other = replace(whole, patients=np.char.add(whole.patients, "x"), **{kind: shorter})
    with pytest.raises(CohortError, match=rf"{next(iter(shorter))} have \d+ and \d+ numbers"):
        pool_cohorts([whole, other])
