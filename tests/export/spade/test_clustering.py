"""Two-stage clustering: what scikit-learn finds by hand, planted groups, small experts, the elbow, one file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from haiku_edge.export.spade import cluster, draw_elbow, elbow, read_clusters, two_stage, write_clusters
from haiku_edge.export.spade.cluster import merge_small, nearest
from haiku_edge.runtime.errors import CheckpointIncompleteError, CohortError, DatasetError, UsageError

WIDTH = 12
GROUPS = 4


def _planted(
    organ: int, sections: int = 3, rows: int = 120
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]:
    """Sections whose spots lie around four far points, the same in every organ, and the group of each spot."""
    centres = np.random.default_rng(99).normal(0, 20, (GROUPS, WIDTH))
    draw = np.random.default_rng(organ)
    groups = [draw.integers(0, GROUPS, 120) for _ in range(3)]
    return [(centres[own] + draw.normal(0, 1, (120, WIDTH))).astype(np.float32) for own in groups], groups


def _cohort() -> dict[str, list[NDArray[np.float32]]]:
    return {"Skin": _planted(1)[0], "Bowel": _planted(2)[0], "Lung": _planted(3)[0]}


def _stack(sections: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(list(sections))


def test_both_stages_are_k_means_as_scikit_learn_does_it_by_hand() -> None:
    cohort = _cohort()
    found = two_stage(cohort, 8, 4, seed=5)
    by_hand = [
        KMeans(8, n_init=5, max_iter=50, tol=0, random_state=5).fit(_stack(cohort[name])) for name in sorted(cohort)
    ]
    centroids = np.concatenate([own.cluster_centers_ for own in by_hand])
    np.testing.assert_allclose(found.centroids, centroids, rtol=1e-5, atol=1e-5)
    assert found.organ_of == ("Bowel",) * 8 + ("Lung",) * 8 + ("Skin",) * 8
    assert found.spots.tolist() == np.concatenate([np.bincount(own.labels_, minlength=8) for own in by_hand]).tolist()
    joined = KMeans(4, n_init=10, tol=0, random_state=5).fit(centroids)
    assert adjusted_rand_score(joined.labels_, found.expert_of) == 1
    assert found.wcss[4] == pytest.approx(joined.inertia_, rel=1e-4)
    assert list(found.wcss) == [4, 8, 16]


def test_planted_groups_become_experts_across_organs() -> None:
    found = two_stage(_cohort(), 8, GROUPS)
    for organ, number in (("Skin", 1), ("Bowel", 2), ("Lung", 3)):
        sections, groups = _planted(number)
        experts = found.expert_of_spots(_stack(sections), organ)
        assert adjusted_rand_score(np.concatenate(groups), experts) == 1
    centres = [set(found.expert_of[np.array(found.organ_of) == organ]) for organ in ("Skin", "Bowel", "Lung")]
    assert centres == [set(range(GROUPS))] * 3


def test_neither_the_order_of_organs_nor_threads_change_anything() -> None:
    cohort = _cohort()
    first = two_stage(cohort, 8, "elbow", seed=3)
    second = two_stage(dict(sorted(cohort.items(), reverse=True)), 8, "elbow", seed=3)
    assert first.digest == second.digest and first.wcss == second.wcss
    code = (
        "from tests.export.spade.test_clustering import _cohort\n"
        "from haiku_edge.export.spade import two_stage\n"
        "print(two_stage(_cohort(), 8, 'elbow', seed=3).digest)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "3"}
    root = Path(__file__).resolve().parents[3]
    ran = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, check=True)
    assert ran.stdout.decode().strip() == first.digest


def test_a_large_organ_is_sampled_and_every_spot_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MOST_A_CENTROID", 10)
    found = two_stage(_cohort(), 4, 2)
    assert found.spots.sum() == 3 * 3 * 120
    sections = [np.arange(30, dtype=np.float32)[:, None], np.arange(30, 50, dtype=np.float32)[:, None]]
    sample = cluster._sample(sections, 20, 0)[:, 0]
    assert len(np.unique(sample)) == 20 and (np.diff(sample) > 0).all()


def test_an_organ_with_few_spots_gets_few_centroids_and_one_organ_is_said() -> None:
    few = np.repeat(np.eye(3, WIDTH, dtype=np.float32), 4, axis=0)
    said: list[str] = []
    found = two_stage({"Eye": [few]}, 16, 2, say=said.append)
    assert len(found.centroids) == 3 and found.spots.tolist() == [4, 4, 4]
    assert said == list(found.notes)
    assert "got 3" in found.notes[0] and "one organ (Eye)" in found.notes[1]


def test_an_expert_with_too_few_spots_joins_the_nearest() -> None:
    centroids = np.array([[0], [1], [10], [11], [13]], np.float32)
    merged, notes = merge_small(centroids, np.array([0, 0, 1, 1, 2]), np.array([500, 500, 300, 300, 20]), least=100)
    assert merged.tolist() == [0, 0, 1, 1, 1]
    assert notes == ["Cluster 3 has 20 spots to learn from, fewer than 100, and was merged into cluster 2."]
    alone, notes = merge_small(centroids, np.array([0, 0, 1, 1, 2]), np.array([1, 1, 1, 1, 1]), least=100)
    assert alone.tolist() == [0] * 5 and len(notes) == 2


def test_several_mergers_are_told_in_one_line_and_kept_one_by_one(tmp_path: Path) -> None:
    said: list[str] = []
    found = two_stage(_cohort(), 8, 4, least_spots=2000, say=said.append)
    assert said == [
        "3 of 4 clusters have fewer than 2,000 spots to learn from, and were merged into their nearest: 1 is left."
    ]
    assert len(found.notes) == found.merged == 3 and found.experts == 1
    write_clusters(tmp_path / "clusters.npz", found, "mine")
    assert read_clusters(tmp_path / "clusters.npz", "mine").merged == 3


def test_shuffled_centroids_keep_the_experts_sizes_and_lose_their_places() -> None:
    ordered, shuffled = two_stage(_cohort(), 8, 4), two_stage(_cohort(), 8, 4, shuffled=True)
    assert np.array_equal(ordered.centroids, shuffled.centroids)
    assert sorted(np.bincount(ordered.expert_of)) == sorted(np.bincount(shuffled.expert_of))
    assert adjusted_rand_score(ordered.expert_of, shuffled.expert_of) < 0.3


def test_one_expert_is_one_cluster() -> None:
    assert two_stage(_cohort(), 8, 1).experts == 1


def test_the_elbow_is_the_point_farthest_below_the_chord() -> None:
    wcss = {4: 100.0, 8: 40.0, 16: 30.0, 32: 28.0, 64: 27.0}
    points = {size: (size / 60, value / 73) for size, value in wcss.items()}
    (ax, ay), (bx, by) = points[4], points[64]
    distance = {
        size: abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / np.hypot(bx - ax, by - ay)
        for size, (x, y) in points.items()
    }
    assert elbow(wcss) == max(distance, key=lambda size: distance[size]) == 16
    assert elbow({4: 7.0, 8: 7.0, 16: 7.0}) == 4
    with pytest.raises(UsageError, match="--experts a number"):
        elbow({4: 3.0, 8: 1.0})


def test_the_picture_marks_what_was_chosen() -> None:
    svg = draw_elbow({4: 100.0, 8: 40.0, 16: 30.0}, 8, "3 organs & 24 centroids").decode()
    assert svg.count("<circle") == 3 and svg.count('r="7"') == 1 and "&amp;" in svg


def test_nearest_is_the_least_distance() -> None:
    draw = np.random.default_rng(0)
    rows, centroids = draw.normal(size=(5000, WIDTH)), draw.normal(size=(9, WIDTH))
    expected = np.linalg.norm(rows[:, None] - centroids, axis=2).argmin(1)
    assert np.array_equal(nearest(rows.astype(np.float32), centroids.astype(np.float32)), expected)


@pytest.mark.parametrize(
    ("cohort", "experts", "error", "said"),
    [
        ({}, 2, CohortError, "no spot"),
        ({"Skin": [np.zeros((0, 3), np.float32)]}, 2, CohortError, "no spot"),
        ({"Skin": [np.full((9, 3), np.nan, np.float32)]}, 2, DatasetError, "no number"),
        ({"A": [np.zeros((9, 3), np.float32)], "B": [np.zeros((9, 4), np.float32)]}, 1, DatasetError, "lengths"),
        ({"Skin": [np.eye(9, dtype=np.float32)]}, 30, UsageError, "30 experts"),
        ({"Skin": [np.eye(9, dtype=np.float32)]}, 0, UsageError, "positive"),
    ],
)
def test_what_can_not_be_clustered_is_refused(
    cohort: dict[str, list[NDArray[np.float32]]], experts: int, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        two_stage(cohort, 16, experts)


def test_clusters_come_back_from_their_file_and_only_for_their_own_training(tmp_path: Path) -> None:
    found = two_stage(_cohort(), 8, "elbow", seed=3, least_spots=200)
    write_clusters(tmp_path / "a.npz", found, "mine")
    write_clusters(tmp_path / "b.npz", found, "mine")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = read_clusters(tmp_path / "a.npz", "mine")
    assert back.digest == found.digest and back.spots.tolist() == found.spots.tolist()
    assert (back.organ_of, back.wcss, back.notes, back.seed) == (found.organ_of, found.wcss, found.notes, 3)
    with pytest.raises(UsageError, match="another training"):
        read_clusters(tmp_path / "a.npz", "yours")
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:500])
    for name in ("a.npz", "none.npz"):
        with pytest.raises(CheckpointIncompleteError, match="missing or damaged"):
            read_clusters(tmp_path / name, "mine")
