"""Make cohorts of the Orion colorectal data: 40 patients, H&E and 17-plex immunofluorescence of the same section.

    python docs/guides/orion/make_cohort.py DATA_FOLDER OUT_FOLDER

writes four files that `haiku-edge evaluate` takes; one row is one patient in the first three:

    cohort.parquet    he: what the H&E shows; mif: what the markers show            (probes, survival)
    evidence.parquet  he: as above; mif: the same, so that evidence is found by H&E  (biomarker inference)
    aligned.parquet   he: the profile that a ridge regression expects from the H&E, fitted without the patient;
                      mif: the measured profile                                     (retrieval)
    blocks.parquet    he: what the H&E shows in squares of 16 x 16 tiles             (attention MIL)

Data: Lin and others, Nature Cancer 2023; labsyspharm/orion-crc, MIT licence. For research use only.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort, write_cohort
from haiku_edge.export.vocabulary import canonical_panel
from haiku_edge.runtime.errors import HaikuEdgeError, UnreadableDatasetError
from haiku_edge.runtime.notes.ages import OLDEST_AGE_SHOWN
from haiku_edge.runtime.notes.facts import NO_VALUE

CLASSES: Final = ("NORM", "DEB", "TUM", "ADI", "MUC", "MUS", "STR", "LYM")
"""Tissue classes of the H&E tiles (NCT-CRC). The ninth, BACK, is glass: it tells how much was scanned, not what."""

CHANNELS: Final = (
    "Pan_CK", "SMA", "Ki67", "CD45", "CD68", "CD31", "CD4", "FOXP3", "CD8a", "CD45RO", "CD20", "CD3e", "CD163", "PD_1",
    "PD_L1", "E_cadherin",
)  # fmt: skip
"""The gated channels, as the file names them. Hoechst has no gate; AF1 is autofluorescence, Argo550 a blank."""

GRID_CLASSES: Final = ("BACK", "NORM", "DEB", "TUM", "ADI", "MUC", "MUS", "STR", "LYM")
"""Order of the probabilities in the class grids."""

BLOCK: Final = 16
"""Tiles on a side of a block: a section has some 50 to 150 blocks."""

LEAST_TISSUE: Final = 0.5
"""Share of a block's tiles that must not be glass."""

DAYS_PER_MONTH: Final = 365.25 / 12
RIDGE: Final = 10.0
"""Ridge penalty for 8 standardised inputs and 39 patients: about a quarter of each input's sum of squares, fixed before
any result was seen."""

Row = Mapping[str, str]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Orion:
    """The tables, patient by patient.

    Attributes:
        patients: (n,) str, sorted.
        shares: (n, 8) of the tissue's tiles in each of `CLASSES`; rows sum to 1.
        positive: (n, 16) share of cells above the gate, per channel of `CHANNELS`.
        intensity: (n, 16) mean intensity of the cells, 16 bit.
        facts: Patient → clinical facts.
    """

    patients: NDArray[np.str_]
    shares: Floats
    positive: Floats
    intensity: Floats
    facts: Mapping[str, Mapping[str, str]]


def read_orion(folder: Path) -> Orion:
    """Read the two tables of `folder`.

    Raises:
        UnreadableDatasetError: A file or a column is missing, or a patient stands in one table only.
    """
    tiles = _rows(folder / "he_class_fractions.csv")
    rows = {row["slideName"]: row for row in _rows(folder / "orion_crc_sumAllsample.csv")}
    try:
        shares = _tissue_shares(tiles)
        if set(shares) != set(rows):
            raise UnreadableDatasetError("The two tables of the Orion folder do not hold the same patients.")
        patients = sorted(rows)
        return Orion(
            patients=np.array(patients, np.str_),
            shares=np.array([shares[patient] for patient in patients]),
            positive=np.array([[float(rows[p][f"mean_{name}p"]) for name in CHANNELS] for p in patients]),
            intensity=np.array([[float(rows[p][f"mean_{name}"]) for name in CHANNELS] for p in patients]),
            facts={patient: read_facts(rows[patient]) for patient in patients},
        )
    except (KeyError, ValueError) as error:
        raise UnreadableDatasetError(f"A table of the Orion folder lacks a column or a number: {error}.") from None


def read_facts(row: Row) -> dict[str, str]:
    """The clinical facts of one patient; what is not known is left out.

    An event counts where the status and the censoring column agree on it: they contradict each other for two patients.
    Progression is censored at death, as in the published table. Ages above 89 are written as 90.
    """
    facts = {
        "tissue_type": "Colorectum",
        "disease": "Colorectal cancer",
        "diagnosis": row["Histology"],
        "location": row["Location"],
        "age": f"{min(float(row['Age']), OLDEST_AGE_SHOWN + 1):.0f}",
        "grade": row["Grade"].lower(),
        "tnm": row["TNMAtDiagnosis"].strip(),
        "stage": row["Stage"],
        "stage_group": "I-II" if row["Stage"] in {"I", "II"} else "III-IV",
        "metastatic": "yes" if row["Stage"] == "IV" else "no",
        "mmr": _mismatch_repair(row["MMRIHC"].lower()),
        "kras": _mutation(row["KRAS"]),
        "braf": _mutation(row["BRAF"]),
        "pfs_months": f"{float(row['PFSDays']) / DAYS_PER_MONTH:.2f}",
        "pfs_event": "yes" if float(row["Recurrence"]) and not float(row["PFSCensor"]) else "no",
        "os_months": f"{float(row['OSDays']) / DAYS_PER_MONTH:.2f}",
        "os_event": "yes" if float(row["Death"]) and not float(row["OSCensor"]) else "no",
    }
    return {key: value for key, value in facts.items() if value}


def make_cohorts(orion: Orion, values: str = "positive") -> dict[str, EmbeddedCohort]:
    """The three cohorts by file name.

    Args:
        orion: The tables.
        values: What the expression is: "positive", percent of cells above the gate, or "intensity".
    """
    he, profile = composition(orion.shares), marker_profile(orion.positive)
    nothing = np.full(len(orion.patients), np.nan, np.float32)
    cohort = EmbeddedCohort(
        markers=canonical_panel(CHANNELS).names,
        patches=orion.patients,
        regions=orion.patients,
        patients=orion.patients,
        x=nothing,
        y=nothing,
        side=None,
        vectors={"he": he, "mif": profile},
        expression=(100 * orion.positive if values == "positive" else orion.intensity).astype(np.float32),
        positive=np.full(orion.positive.shape, np.nan, np.float32),
        facts=orion.facts,
    )
    aligned = expected_profile(orion.shares, orion.positive)
    return {
        "cohort.parquet": cohort,
        "evidence.parquet": replace(cohort, vectors={"he": he, "mif": he}),
        "aligned.parquet": replace(cohort, vectors={"he": aligned, "mif": profile}),
    }


def make_blocks(folder: Path, facts: Mapping[str, Mapping[str, str]]) -> EmbeddedCohort:
    """The class grids in blocks: one row is one block, without markers, since those were measured per slide only.

    Args:
        folder: The data folder, with `he_class_grids`.
        facts: Patient → clinical facts.

    Raises:
        UnreadableDatasetError: No grids, or a grid that can't be read.
    """
    grids = sorted((folder / "he_class_grids").glob("*.npz"))
    if not grids:
        raise UnreadableDatasetError("The Orion folder has no class grids in he_class_grids.")
    sections = [_block_shares(path) for path in grids]
    sizes = [len(shares) for shares in sections]
    patients = np.repeat([f"C{path.stem.partition('CRC')[2][:2]}" for path in grids], sizes)
    count = len(patients)
    nothing = np.full(count, np.nan, np.float32)
    return EmbeddedCohort(
        markers=canonical_panel(CHANNELS).names,
        patches=np.array([f"block {i}" for i in range(count)], np.str_),
        regions=np.repeat([f"section {i}" for i in range(len(grids))], sizes),
        patients=patients,
        x=nothing,
        y=nothing,
        side=None,
        vectors={"he": composition(np.concatenate(sections))},
        expression=np.full((count, len(CHANNELS)), np.nan, np.float32),
        positive=np.full((count, len(CHANNELS)), np.nan, np.float32),
        facts=facts,
    )


def composition(shares: Floats) -> NDArray[np.float32]:
    """(n, 8) square roots of class shares, to length 1: their cosine is the Bhattacharyya coefficient."""
    return _unit(np.sqrt(shares))


def marker_profile(positive: Floats) -> NDArray[np.float32]:
    """(n, 16) unit vectors of logit shares of positive cells, standardised over the patients."""
    return _unit(_standardised(_logit(positive)))


def expected_profile(shares: Floats, positive: Floats, penalty: float = RIDGE) -> NDArray[np.float32]:
    """(n, 16) the profile that the H&E of a patient lets one expect, by a ridge regression on all other patients.

    The profiles are standardised over all patients, as the gallery that is searched; which of them belongs to the
    patient takes no part.
    """
    profiles, inputs = _standardised(_logit(positive)), np.sqrt(shares)
    rows = np.arange(len(inputs))
    return _unit(np.stack([_ridge(inputs[rows != i], profiles[rows != i], inputs[i], penalty) for i in rows]))


def _ridge(inputs: Floats, targets: Floats, query: Floats, penalty: float) -> Floats:
    centre, scale = inputs.mean(axis=0), inputs.std(axis=0)
    x = (inputs - centre) / scale
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (targets - targets.mean(axis=0)))
    return np.asarray((query - centre) / scale @ weights + targets.mean(axis=0))


def _tissue_shares(tiles: list[dict[str, str]]) -> dict[str, Floats]:
    """Shares of each class among a patient's tissue tiles; a patient with two sections has their tiles together."""
    counts: dict[str, Floats] = {}
    for row in tiles:
        own = float(row["n_tiles"]) * np.array([float(row[name]) for name in CLASSES])
        patient = f"C{int(row['CRC']):02d}"
        counts[patient] = counts.get(patient, np.zeros(len(CLASSES))) + own
    return {patient: count / count.sum() for patient, count in counts.items()}


def _block_shares(path: Path) -> Floats:
    """(blocks, 8) mean probability of each tissue class, glass left out, in the blocks that are mostly tissue."""
    try:
        with np.load(path, allow_pickle=False) as grid:
            column, row, chances = grid["col"].astype(np.int64), grid["row"].astype(np.int64), grid["prob"]
        block = np.unique(row // BLOCK * 10_000 + column // BLOCK, return_inverse=True)[1].ravel()
        total = np.zeros((int(block.max()) + 1, len(GRID_CLASSES)))
        np.add.at(total, block, chances.astype(np.float64))
    except (OSError, ValueError, LookupError) as error:
        raise UnreadableDatasetError(f"{path.name} is no class grid ({type(error).__name__}).") from None
    tissue = total[:, 1:]
    return np.asarray(tissue[tissue.sum(axis=1) >= LEAST_TISSUE * BLOCK**2]) + 1e-6


def _mismatch_repair(stain: str) -> str:
    return "deficient" if "absent" in stain else ("proficient" if stain == "intact" else "")


def _mutation(value: str) -> str:
    return "" if not value else ("mutated" if float(value) else "wild type")


def _logit(share: Floats) -> Floats:
    return np.asarray(np.log(share / (1 - share)))


def _standardised(values: Floats) -> Floats:
    return np.asarray((values - values.mean(axis=0)) / values.std(axis=0))


def _unit(vectors: Floats) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {key: "" if value.casefold() in NO_VALUE else value for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise UnreadableDatasetError(
            f"{path.name} of the Orion folder can't be read ({type(error).__name__})."
        ) from None


def main() -> None:
    """Read the folder, write the cohorts, and say what is in them."""
    parser = argparse.ArgumentParser(description="Make cohorts of the Orion colorectal data.")
    parser.add_argument("data", type=Path, help="folder with he_class_fractions.csv and orion_crc_sumAllsample.csv")
    parser.add_argument("out", type=Path, help="folder for the cohorts")
    parser.add_argument("--values", choices=("positive", "intensity"), default="positive", help="what expression is")
    given = parser.parse_args()
    try:
        orion = read_orion(given.data)
        cohorts = make_cohorts(orion, given.values)
        cohorts["blocks.parquet"] = make_blocks(given.data, orion.facts)
        given.out.mkdir(parents=True, exist_ok=True)
        for name, cohort in cohorts.items():
            write_cohort(given.out / name, cohort)
            patients = len(np.unique(cohort.patients))
            print(f"{name}: {patients} patients, {len(cohort)} rows, vectors of {', '.join(cohort.vectors)}")
    except HaikuEdgeError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()
