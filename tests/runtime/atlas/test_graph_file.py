"""A graph's file is checked link by link before hnswlib sees it, whatever its digest says."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import HnswIndex, build_hnsw, probe_hnswlib
from haiku_edge.runtime.atlas.probe import describe_end
from haiku_edge.runtime.errors import BundleContentError

pytestmark = pytest.mark.skipif(probe_hnswlib() is not None, reason="hnswlib does not work on this processor")

COUNT, DIMENSION, M, EF = 400, 16, 4, 60
HEADER = 96
ELEMENT = 4 * (2 * M + 1) + 4 * DIMENSION + 8


def _vectors() -> NDArray[np.float32]:
    vectors = np.random.default_rng(0).normal(size=(COUNT, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = _vectors()


@pytest.fixture(scope="module")
def data() -> bytes:
    return build_hnsw(VECTORS, m=M, ef_construction=EF)


def load(data: bytes, vectors: NDArray[np.float32] = VECTORS, *, m: int = M, ef_construction: int = EF) -> HnswIndex:
    return HnswIndex.from_bytes(data, vectors, m=m, ef_construction=ef_construction, ef_search=50)


def test_what_was_built_loads(data: bytes) -> None:
    assert (load(data).search(VECTORS, 1).ids[:, 0] == np.arange(COUNT)).all()


@given(cut=st.integers(0, 50_000))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_short_is_refused(data: bytes, cut: int) -> None:
    with pytest.raises(BundleContentError):
        load(data[: min(cut, len(data) - 1)])


def test_a_file_with_something_behind_its_end_is_refused(data: bytes) -> None:
    with pytest.raises(BundleContentError):
        load(data + b"\0")


@given(drawn=st.data())
@settings(max_examples=250, deadline=None)
def test_a_damaged_file_is_refused_or_gives_rows_that_exist(data: bytes, drawn: st.DataObject) -> None:
    """Where a changed bit leaves a sound graph (another link), the search is a little worse, never out of bounds."""
    damaged = bytearray(data)
    region = drawn.draw(st.sampled_from([(0, HEADER), (HEADER, len(data)), (HEADER + COUNT * ELEMENT, len(data))]))
    for _ in range(drawn.draw(st.integers(1, 5))):
        damaged[drawn.draw(st.integers(region[0], region[1] - 1))] = drawn.draw(st.integers(0, 255))
    try:
        found = load(bytes(damaged)).search(VECTORS[:20], 3)
    except BundleContentError:
        return
    assert ((found.ids >= 0) & (found.ids < COUNT)).all()


def _set(offset: int, form: str, value: float) -> Callable[[bytearray], None]:
    return lambda data: struct.pack_into(form, data, offset, value)


@pytest.mark.parametrize(
    "damage",
    [
        _set(8, "<Q", 1 << 40),  # room for more elements than memory holds
        _set(16, "<Q", COUNT - 1),  # fewer elements
        _set(48, "<i", 60),  # a level that no element has
        _set(52, "<I", COUNT),  # an entry point outside
        _set(64, "<Q", 1 << 30),  # more links than an element has room for
        _set(HEADER, "<H", 2 * M + 1),  # a longer list of links
        _set(HEADER + 4, "<I", COUNT),  # a link outside
        _set(HEADER + 2, "<H", 1),  # marked deleted
        _set(HEADER + ELEMENT - 8, "<Q", 1 << 60),  # a label outside
        _set(HEADER + 4 * (2 * M + 1), "<f", 0.5),  # another vector
    ],
)
def test_each_number_that_becomes_an_address_is_checked(data: bytes, damage: Callable[[bytearray], None]) -> None:
    damaged = bytearray(data)
    damage(damaged)
    with pytest.raises(BundleContentError):
        load(bytes(damaged))


def test_a_graph_of_another_atlas_is_refused(data: bytes) -> None:
    with pytest.raises(BundleContentError, match="vectors"):
        load(data, VECTORS[::-1].copy())


def test_a_graph_of_another_dimension_is_refused(data: bytes) -> None:
    with pytest.raises(BundleContentError):
        load(data, VECTORS[:, : DIMENSION // 2].copy())


def test_a_graph_of_other_parameters_than_stated_is_refused(data: bytes) -> None:
    for stated in ({"m": 8}, {"ef_construction": 61}):
        with pytest.raises(BundleContentError):
            load(data, **stated)


def test_a_full_disk_is_an_error_where_hnswlib_says_nothing() -> None:
    """hnswlib ignores what the system says of its writes; here no file may grow past 4 KiB."""
    code = (
        "import resource, numpy\n"
        "from haiku_edge.runtime.atlas import build_hnsw\n"
        "from haiku_edge.runtime.errors import DiskFullError\n"
        "vectors = numpy.eye(300, dtype='float32')\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))\n"
        "try:\n    build_hnsw(vectors, m=4, ef_construction=20)\n"
        "except DiskFullError:\n    raise SystemExit(7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == 7, ended.stderr.decode()


def test_a_child_that_an_illegal_instruction_ended_is_told_in_words() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    said = describe_end(ended.returncode, "")
    assert said is not None and "SIGILL" in said and "HNSWLIB_NO_NATIVE" in said
    assert describe_end(0, "") is None
    assert "No module" in str(describe_end(1, "Traceback\nModuleNotFoundError: No module named 'hnswlib'\n"))
