"""Laws of the simulated tissue: what is drawn depends on cells, niches and facts as documented."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from haiku_edge.export.synthetic import (
    MARKERS,
    Patient,
    Region,
    edit_patient,
    patches,
    render_region,
    simulate_cohort,
    true_shift,
)
from haiku_edge.export.synthetic.anatomy import dissect
from haiku_edge.export.synthetic.region import block_means
from haiku_edge.export.synthetic.tissue import plant_tissue
from haiku_edge.export.synthetic.vocabulary import PANELS, Niche, Visible
from haiku_edge.runtime.errors import UsageError

COHORT = simulate_cohort(40, 21)
KI67, PDL1, GRANZYME, CD20 = (MARKERS.index(name) for name in ("Ki67", "PDL1", "GranzymeB", "CD20"))


@cache
def _region(index: int) -> Region:
    return render_region(COHORT[index], 512, 512)


def _early(grade: str) -> Patient:
    return edit_patient(COHORT[5], {"grade": grade, "tnm": "T1 N0 M0", "type": "primary"})


def test_the_same_seed_draws_the_same_bytes_whatever_runs_beside_it() -> None:
    alone = [render_region(patient, 256, 256, seed=3) for patient in COHORT[:3]]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda patient: render_region(patient, 256, 256, seed=3), COHORT[:3]))
    for one, other in zip(alone, together, strict=True):
        assert one.he.tobytes() == other.he.tobytes()
        assert one.mif.tobytes() == other.mif.tobytes()
        assert one.expected.tobytes() == other.expected.tobytes()


def test_another_seed_is_another_region_of_the_section() -> None:
    assert not np.array_equal(render_region(COHORT[0], 256, 256, seed=1).he, render_region(COHORT[0], 256, 256).he)


def test_a_marker_that_the_panel_lacks_is_not_measured() -> None:
    patient = next(patient for patient in COHORT if patient.panel == PANELS[1])
    cut = patches(render_region(patient, 256, 256))
    missing = [marker not in patient.panel for marker in MARKERS]
    assert np.isnan(cut.expression[:, missing]).all()
    assert not cut.mif[:, missing].any()
    assert np.isfinite(cut.expression[:, np.logical_not(missing)]).all()
    assert np.isfinite(cut.expected).all()


def test_expression_is_the_mean_of_the_channel() -> None:
    region = _region(0)
    cut = patches(region, 128)
    x, y = cut.origins[6]
    window = region.mif[:, y : y + 128, x : x + 128].astype(np.float64)
    assert np.array_equal(cut.he[6], region.he[y : y + 128, x : x + 128])
    assert cut.expression[6][region.measured] == pytest.approx(window.mean(axis=(1, 2))[region.measured], rel=1e-6)


def test_proliferation_rises_with_grade_at_fixed_cells() -> None:
    low = _early("1")
    tissue = plant_tissue(low, 512, 512)
    means = [render_region(_early(grade), 512, 512, layout=tissue, panel=MARKERS).mif[KI67].mean() for grade in "123"]
    assert means[0] * 1.2 < means[1]
    assert means[1] * 1.2 < means[2]


def test_stage_raises_pdl1_and_lowers_granzyme_at_fixed_cells() -> None:
    region = render_region(_early("2"), 512, 512, panel=MARKERS)
    shift = true_shift(_early("2"), {"tnm": "T4 N2 M1"}, region=region)
    assert (shift[:, PDL1] > 0).all()
    assert (shift[:, GRANZYME] < 0).all()


def test_editing_nothing_shifts_nothing() -> None:
    assert not true_shift(COHORT[2], {}, region=_region(2)).any()


def test_the_true_shift_is_what_the_edited_patient_with_the_same_cells_is_expected_to_show() -> None:
    patient = COHORT[3]
    edits = {"tnm": "T1 N0 M0" if patient.biology.stage > 2 else "T4 N2 M1", "survival": "90 months"}
    again = render_region(edit_patient(patient, edits), 512, 512, layout=_region(3).tissue)
    change = patches(again).expected - patches(_region(3)).expected
    assert np.abs(change).max() > 1
    assert true_shift(patient, edits, region=_region(3)) == pytest.approx(change, abs=1e-3)


def test_more_b_cells_are_expected_in_head_and_neck_than_in_breast() -> None:
    shift = true_shift(COHORT[4], {"tissue_type": "Head and Neck"}, region=_region(4))
    shift -= true_shift(COHORT[4], {"tissue_type": "Breast"}, region=_region(4))
    assert (shift[:, CD20] > 0).all()


def test_optical_density_is_higher_in_nuclei() -> None:
    for index in range(4):
        region = _region(index)
        anatomy = dissect(region.tissue, region.patient.biology, 0, 0, 512, 512)
        density = -np.log10(np.clip(region.he.astype(np.float64), 1, None) / 245.0).sum(axis=2)
        tissue = anatomy.white < 0.1
        inside, outside = density[(anatomy.depth > 1.5) & tissue], density[(anatomy.depth < -2) & tissue]
        assert inside.mean() > 1.4 * outside.mean()


def test_lumen_and_clefts_are_nearly_as_bright_as_glass() -> None:
    for index in range(6):
        region = _region(index)
        white = dissect(region.tissue, region.patient.biology, 0, 0, 512, 512)
        clear = (white.white > 0.99) & (white.red < 0.01) & (white.mucin < 0.01) & (white.depth < -4)
        if clear.sum() > 200:
            assert region.he[clear].mean() > 225


def test_colours_lie_where_scanned_haematoxylin_and_eosin_lie() -> None:
    means = np.array([_region(index).he.reshape(-1, 3).mean(axis=0) for index in range(6)])
    red, green, blue = means.T
    assert (red > green + 20).all()
    assert (blue > green + 15).all()
    assert (means > 60).all()
    assert (means < 235).all()


def test_lymphocyte_kinds_cannot_be_told_apart_on_he() -> None:
    # The H&E is drawn from the visible class alone: other lymphocyte shares leave its bytes unchanged.
    patient = COHORT[5]
    edited = edit_patient(patient, {"survival": "100 months", "survival_status": "alive"})
    one, other = (render_region(p, 256, 256, layout=_region(5).tissue) for p in (patient, edited))
    assert np.array_equal(one.he, other.he)


def test_measured_expression_follows_what_is_expected() -> None:
    measured, expected = [], []
    for index in range(12):
        cut = patches(_region(index))
        measured.append(cut.expression)
        expected.append(cut.expected)
    m, e = np.concatenate(measured), np.concatenate(expected)
    for name in ("DAPI", "PanCK", "CD45", "Ki67", "PDL1"):
        column = MARKERS.index(name)
        known = np.isfinite(m[:, column])
        assert np.corrcoef(m[known, column], e[known, column])[0, 1] > 0.75, name
        assert m[known, column].mean() == pytest.approx(e[known, column].mean(), rel=0.12)


def test_facts_make_pdl1_better_known() -> None:
    cuts = [patches(_region(index)) for index in range(12)]
    measured, informed, uninformed = (
        np.concatenate([getattr(cut, name)[:, PDL1] for cut in cuts])
        for name in ("expression", "expected", "expected_without_facts")
    )
    known = np.isfinite(measured)
    with_facts, without = (np.corrcoef(measured[known], e[known])[0, 1] for e in (informed, uninformed))
    assert with_facts > without + 0.1


def test_occupancy_holds_all_compartments_of_all_cells() -> None:
    region = _region(1)
    anatomy = dissect(region.tissue, region.patient.biology, 0, 0, 512, 512)
    for compartment, held in zip(anatomy.compartments, region.occupancy, strict=True):
        assert held.sum(axis=-1) == pytest.approx(block_means(compartment), abs=1e-4)


def test_maps_of_neighbouring_windows_continue_each_other() -> None:
    region = _region(2)
    whole = dissect(region.tissue, region.patient.biology, 0, 0, 512, 512)
    right = dissect(region.tissue, region.patient.biology, 256, 128, 256, 256)
    for name in ("depth", "body", "white", "fibre", "niche", "chromatin"):
        part = getattr(whole, name)[128:384, 256:512].astype(np.float64)
        assert np.abs(part - getattr(right, name)).mean() < 1e-2, name


def test_cells_stand_in_their_niches() -> None:
    tissue = plant_tissue(COHORT[0], 1024, 1024)
    lymphoid = tissue.cell_niche == Niche.LYMPHOID
    tumour = tissue.cell_niche == Niche.TUMOUR
    if lymphoid.sum() > 50:
        assert (tissue.visible[lymphoid] == Visible.LYMPHOCYTE).mean() > 0.8
    assert (tissue.visible[tumour] == Visible.TUMOUR).mean() > 0.5
    assert not (tissue.visible[tumour] == Visible.EPITHELIUM).any()


def test_patient_composition_differs_between_patients() -> None:
    shares = [np.mean(_region(index).tissue.niche == Niche.TUMOUR) for index in range(12)]
    assert np.std(shares) > 0.1


@pytest.mark.parametrize(("width", "height"), [(0, 256), (250, 256), (256, 8)])
def test_sizes_that_blocks_do_not_divide_are_refused(width: int, height: int) -> None:
    with pytest.raises(UsageError):
        render_region(COHORT[0], width, height)


def test_a_region_of_bare_glass_is_white() -> None:
    patient = COHORT[0]
    tissue = plant_tissue(patient, 256, 256, outline=np.zeros((64, 64), bool))
    region = render_region(patient, 256, 256, layout=tissue)
    assert region.he.mean() > 230
    assert region.mif.mean() < 6
