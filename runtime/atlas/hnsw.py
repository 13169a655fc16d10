"""Approximate search in a hierarchical graph (HNSW) through hnswlib, with the checks that hnswlib leaves out.

hnswlib does not store the metric, reads out of bounds for a query of the wrong length, gives arbitrary ids for NaN and
crashes on a damaged file. So its file is checked link by link before it is loaded, every call is checked, and what it
proposes is scored again here; where it finds too little, exact search steps in.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleContentError, DiskFullError
from ._hnsw_file import HnswShape, check_hnsw_file
from ._native_file import private_path
from ._ranking import check_call, rank
from .exact import ExactIndex
from .types import Neighbours

BUILD_SEED = 100
"""Seed of the levels; hnswlib's own default."""

_SPARE = 16
_MAX_FETCH = 1_000
_FETCH_MARGIN = 2


class HnswIndex:
    """A loaded graph beside the vectors that it was built from. `search` may be called from several threads."""

    def __init__(self, native: Any, vectors: NDArray[np.float32], ef_search: int) -> None:
        """Use `HnswIndex.from_bytes` or `build_hnsw`; `native` is taken as checked."""
        self._native = native
        self._vectors = vectors
        self._ef_search = ef_search
        self._exact = ExactIndex(vectors)
        self._lock = threading.Lock()

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        vectors: NDArray[np.float32],
        *,
        m: int,
        ef_construction: int,
        ef_search: int,
        threads: int = 1,
    ) -> HnswIndex:
        """Load an index from verified bytes.

        Args:
            data: The index file's bytes.
            vectors: (n, d) float32 unit vectors that it was built from, in order.
            m: Links of an element, as the manifest states them.
            ef_construction: Breadth of the build, as the manifest states it.
            ef_search: Breadth of a search; larger finds more and takes longer.
            threads: Threads of one search; the result does not depend on it.

        Raises:
            BundleContentError: The file is not such an index, or was built from other vectors.
        """
        count, dimension = vectors.shape
        check_hnsw_file(data, HnswShape(count, dimension, m, ef_construction), vectors)
        native = _new_native(dimension)
        with private_path(data) as path:
            try:
                native.load_index(str(path), max_elements=count)
            except RuntimeError as error:
                raise BundleContentError(
                    f"The atlas's index can't be loaded ({error}). Export the bundle again."
                ) from None
        loaded = (native.dim, native.element_count, native.max_elements, native.M, native.ef_construction)
        if loaded != (dimension, count, count, m, ef_construction):
            raise BundleContentError("The atlas's index loads as another than it is. Install the stated hnswlib.")
        native.set_num_threads(threads)
        return cls(native, vectors, ef_search)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._vectors.shape[1])

    @property
    def count(self) -> int:
        """Number of vectors."""
        return len(self._vectors)

    def search(self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """Find the k best rows for each query, nearly always; see `VectorIndex.search`.

        Where a mask allows few rows, or the graph finds fewer allowed rows than there are, the search is exact.
        """
        check_call(queries, k, allowed, dimension=self.dimension, count=self.count)
        permitted = self.count if allowed is None else int(np.count_nonzero(allowed))
        wanted = min(k, permitted)
        fetch = wanted + _SPARE
        if permitted < self.count:
            fetch = _FETCH_MARGIN * fetch * self.count // max(1, permitted)
        fetch = min(fetch, self.count)
        if not len(queries) or not permitted or fetch > _MAX_FETCH:
            return self._exact.search(queries, k, allowed=allowed)
        candidates = self._propose(queries, fetch)
        if candidates is None:
            return self._exact.search(queries, k, allowed=allowed)
        if allowed is not None:
            candidates = np.where(allowed[candidates], candidates, -1)
        found = rank(queries, candidates, self._vectors, k)
        short = np.flatnonzero(found.ids[:, wanted - 1] < 0)
        if len(short):
            mended = self._exact.search(queries[short], k, allowed=allowed)
            found.ids[short], found.scores[short] = mended.ids, mended.scores
        return found

    def _propose(self, queries: NDArray[np.float32], fetch: int) -> NDArray[np.int64] | None:
        """(q, fetch) rows that the graph finds, or None where it does not reach so many."""
        with self._lock:
            self._native.set_ef(max(self._ef_search, fetch))
            try:
                labels, _ = self._native.knn_query(np.ascontiguousarray(queries), k=fetch)
            except RuntimeError:
                # hnswlib's way to say that a query reached fewer than k elements.
                return None
        if labels.shape != (len(queries), fetch) or int(labels.max()) >= self.count:
            raise BundleContentError("The atlas's index gave a patch that does not exist. Export the bundle again.")
        return np.asarray(labels, np.int64)


def build_hnsw(vectors: NDArray[np.float32], *, m: int, ef_construction: int) -> bytes:
    """Build a graph and give its file's bytes, checked.

    One thread and one seed: the same vectors give the same bytes on the same machine.

    Args:
        vectors: (n, d) float32 unit vectors; row i gets label i.
        m: Links of an element.
        ef_construction: Breadth of the build.

    Raises:
        DiskFullError: There was no room to save it, of which hnswlib itself says nothing.
        BundleContentError: What was saved isn't an index of these vectors.
    """
    count, dimension = vectors.shape
    native = _new_native(dimension)
    native.init_index(count, M=m, ef_construction=ef_construction, random_seed=BUILD_SEED)
    native.add_items(np.ascontiguousarray(vectors), np.arange(count), num_threads=1)
    with private_path() as path:
        native.save_index(str(path))
        data = path.read_bytes()
    if len(data) != native.index_file_size():
        raise DiskFullError(
            f"The atlas's index was saved in part: {len(data)} of {native.index_file_size()} bytes. Free memory or "
            "disk space and build the atlas again."
        )
    check_hnsw_file(data, HnswShape(count, dimension, m, ef_construction), vectors)
    return data


def _new_native(dimension: int) -> Any:
    # Lazy: built for another processor, the mere import can end the process; see probe.py.
    import hnswlib

    return hnswlib.Index(space="ip", dim=dimension)
