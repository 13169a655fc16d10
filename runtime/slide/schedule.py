"""Which file tile each tile is cut from, and in which order they are decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .grid import TilePlan, source_origins, source_size
from .types import SlideInfo

CACHE_BYTES = 512 * 2**20
"""Most that decoded file tiles may take while they wait for the next row of tiles. One row of 256-pixel file tiles of
a slide 100,000 pixels wide takes 77 MB; where a row would take more than this, shared file tiles are decoded once for
each row."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The order of work of one stream. A job is one file tile to decode; jobs stand in the order of their first use.

    Attributes:
        level: Index of the level.
        width: Pixels of the level that a tile is cut from, across.
        height: The same, down.
        left: (n,) int64, left edge of each tile, pixels of the level.
        upper: (n,) int64, upper edge of each tile.
        job_columns: (j,) int64, column of the file tile of each job.
        job_rows: (j,) int64, row of it.
        needs: (p,) int32, jobs that tile t is cut from, at needs[need_starts[t] : need_starts[t + 1]], row by row.
        need_starts: (n + 1,) int64.
        users: (p,) int32, tiles cut from job k, at users[user_starts[k] : user_starts[k + 1]], ascending.
        user_starts: (j + 1,) int64.
    """

    level: int
    width: int
    height: int
    left: NDArray[np.int64]
    upper: NDArray[np.int64]
    job_columns: NDArray[np.int64]
    job_rows: NDArray[np.int64]
    needs: NDArray[np.int32]
    need_starts: NDArray[np.int64]
    users: NDArray[np.int32]
    user_starts: NDArray[np.int64]


def make_schedule(info: SlideInfo, plan: TilePlan, first: int, cache_bytes: int) -> Schedule:
    """Work out the jobs of the plan's tiles from tile `first` on (earlier tiles need nothing).

    Each file tile is one job, and so decoded once, unless more than `cache_bytes` of them would have to be kept from
    one row of tiles to the next; then it is one job for each row of tiles that it reaches into.
    """
    level = info.levels[plan.level]
    width, height = source_size(info, plan)
    left, upper = source_origins(info, plan).T
    columns = left // level.tile_width, np.minimum((left + width - 1) // level.tile_width, level.columns - 1)
    rows = upper // level.tile_height, np.minimum((upper + height - 1) // level.tile_height, level.rows - 1)
    across = columns[1] - columns[0] + 1
    counts = across * (rows[1] - rows[0] + 1)
    counts[:first] = 0
    need_starts = np.concatenate([[0], counts.cumsum()])
    owners = np.repeat(np.arange(len(counts)), counts)
    down, right = np.divmod(np.arange(need_starts[-1]) - need_starts[owners], across[owners])
    file_tiles = (rows[0][owners] + down) * level.columns + columns[0][owners] + right
    row_of_tile = plan.grid.rows[owners].astype(np.int64)
    carried = _most_carried(file_tiles, row_of_tile) * level.tile_width * level.tile_height * 3
    keys = file_tiles if carried <= cache_bytes else row_of_tile * (level.rows * level.columns) + file_tiles
    # Enumerated tile by tile, so the first pair of a job comes from its first user: sorting by it gives the decode
    # order.
    _, first_pair, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first_pair)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    needs = rank[inverse]
    job_rows, job_columns = np.divmod(file_tiles[first_pair[order]], level.columns)
    by_job = np.argsort(needs, kind="stable")
    user_starts = np.concatenate([[0], np.bincount(needs, minlength=len(order)).cumsum()])
    users = owners[by_job].astype(np.int32)
    return Schedule(
        plan.level, width, height, left, upper, job_columns, job_rows, needs, need_starts, users, user_starts
    )


def _most_carried(file_tiles: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
    """The largest number of file tiles that any row of tiles shares with rows after it."""
    if not len(file_tiles):
        return 0
    order = np.lexsort((rows, file_tiles))
    tiles, rows = file_tiles[order], rows[order]
    change = tiles[1:] != tiles[:-1]
    begins, ends = rows[np.concatenate([[True], change])], rows[np.concatenate([change, [True]])]
    steps = np.bincount(begins, minlength=rows.max() + 1) - np.bincount(ends, minlength=rows.max() + 1)
    return int(steps.cumsum().max())
