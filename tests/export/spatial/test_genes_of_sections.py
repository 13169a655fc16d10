"""Which genes vary, and which a cohort shares."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from haiku_edge.export.spatial import log_normalise, log_normalise_sparse
from haiku_edge.export.spatial.genes import common_genes, library_of, most_variable, variability
from haiku_edge.runtime.errors import PanelError

COUNTS = csr_matrix(
    [
        # A, B, C, D, E, F
        [10, 2, 0, 60, 0, 5],
        [10, 4, 0, 20, 0, 5],
        [10, 6, 4, 40, 0, 5],
        [10, 8, 4, 80, 0, 5],
    ],
    dtype=np.float32,
)
LIBRARY = np.full(4, 10_000, np.float32)
"""At 10,000 counts a spot nothing is scaled, so that the numbers can be checked by hand."""


def test_dispersions_are_those_worked_out_by_hand() -> None:
    # Means 10, 5, 2, 50, 0, 5; variances (n - 1) 0, 20/3, 16/3, 2000/3, 0, 0. log(variance / mean) of B, C and D is
    # log(4/3), log(8/3), log(40/3). log(1 + mean) of the six runs from 0 to log(51) = 3.932 in 20 bins of 0.1966: B
    # (1.792) is in bin 9, C (1.099) in bin 5, D in the last. Each is alone in its bin, since A, E and F have no
    # dispersion, so each gets 1.
    assert variability(COUNTS, LIBRARY).tolist() == [-np.inf, 1.0, 1.0, 1.0, -np.inf, -np.inf]


def test_genes_of_like_abundance_are_compared_with_each_other() -> None:
    # All three have the mean 4. Variances 4/3, 16/3, 64/3 give dispersions whose logarithms lie log(4) apart: their
    # mean is the second, their deviation log(4). D alone stretches the bins.
    counts = csr_matrix(
        [[3, 2, 0, 100], [3, 2, 0, 200], [5, 6, 8, 300], [5, 6, 8, 400]],
        dtype=np.float32,
    )
    assert variability(counts, LIBRARY) == pytest.approx([-1, 0, 1, 1])
    assert most_variable(counts, LIBRARY, 3).tolist() == [2, 3, 1]


def test_a_gene_that_does_not_vary_is_never_chosen() -> None:
    assert most_variable(COUNTS, LIBRARY, 50).tolist() == [1, 2, 3]


def test_normalised_values_do_not_depend_on_depth_nor_on_which_genes_are_kept() -> None:
    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(3, (5, 8)).astype(np.float32))
    library = library_of(counts)
    whole = log_normalise(counts, library)
    assert log_normalise(counts[:, [5, 2]], library) == pytest.approx(whole[:, [5, 2]])
    assert log_normalise(csr_matrix(counts * 3), library * 3) == pytest.approx(whole)
    assert np.expm1(whole.astype(np.float64)).sum(axis=1) == pytest.approx(np.full(5, 10_000), rel=1e-5)


def test_a_spot_without_counts_stays_at_nothing() -> None:
    counts = csr_matrix([[0, 0], [1, 3]], dtype=np.float32)
    assert log_normalise(counts, library_of(counts))[0].tolist() == [0, 0]
    assert np.isfinite(variability(counts, library_of(counts))).any()


def test_a_section_that_would_leave_too_few_genes_does_not_join() -> None:
    sections = [("small", "AB"), ("first", "ABCDEF"), ("second", "BCDEFG"), ("poor", "ABC"), ("third", "FEDX")]
    found = common_genes([(name, tuple(genes)) for name, genes in sections], 3)
    assert found.genes == ("D", "E", "F")
    assert found.joined == ("first", "second", "third")
    assert found.left_out == {"small": 2, "poor": 2}


@pytest.mark.parametrize(
    ("second", "least", "words"), [("XYZ", 1, "don't meet"), ("ABX", 3, "don't meet"), ("ABC", 9, "No section has 9")]
)
def test_names_that_do_not_meet_are_refused(second: str, least: int, words: str) -> None:
    with pytest.raises(PanelError, match=words):
        common_genes([("one", tuple("ABC")), ("two", tuple(second))], least)


def _few_counts(spots: int, genes: int) -> csr_matrix:
    """Counts of which 2 % are not 0."""
    rng = np.random.default_rng(2)
    held = random_array((spots, genes), density=0.02, rng=rng, data_sampler=lambda size: rng.integers(1, 90, size))
    return csr_matrix(held.astype(np.float32))


def test_sparse_and_dense_values_are_bit_for_bit_those_of_the_dense_formula_in_double_precision() -> None:
    counts = _few_counts(300, 700)
    library = library_of(counts) + np.arange(300, dtype=np.float32)
    library[7] = 0
    scale = np.divide(1e4, library, out=np.zeros(300), where=library > 0)
    wanted = np.log1p(counts.toarray().astype(np.float64) * scale[:, None]).astype(np.float32)
    sparse = log_normalise_sparse(counts, library)
    dense = csr_matrix(wanted)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(sparse, part), getattr(dense, part))
    np.testing.assert_array_equal(log_normalise(counts, library), wanted)
    turned = csr_matrix((counts.data[::-1], counts.indices[::-1], counts.nnz - counts.indptr[::-1]), counts.shape)
    np.testing.assert_array_equal(log_normalise(turned, library[::-1]), wanted[::-1])


def test_counts_that_are_mostly_nothing_are_normalised_without_room_for_all_of_them() -> None:
    counts = _few_counts(2000, 4000)
    library, whole = library_of(counts), 2000 * 4000 * 4
    for normalise, most in ((log_normalise_sparse, whole / 4), (log_normalise, 1.3 * whole)):
        tracemalloc.start()
        normalise(counts, library)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < most
