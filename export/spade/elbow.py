"""How many experts: the bend in the curve of within-cluster sums of squares, and its picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from haiku_edge.runtime.errors import UsageError

SIZES = (4, 8, 16, 32, 64, 96, 128)
"""Numbers of experts that are compared: the published ones."""

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 400, 90, 40, 610, 340


def elbow(wcss: Mapping[int, float]) -> int:
    """The number of clusters after which more bring little.

    It is the point farthest below the straight line from the first to the last point, both axes scaled to 0…1
    (Satopää et al. 2011, "Finding a Kneedle in a haystack"); of equals, the smallest.

    Args:
        wcss: Number of clusters → within-cluster sum of squares.

    Raises:
        UsageError: There are fewer than three points, which have no bend.
    """
    if len(wcss) < 3:
        raise UsageError(
            f"An elbow needs at least three numbers of experts to compare, and this cohort has centroids for "
            f"{len(wcss)} only (of {', '.join(map(str, SIZES))}). Give --experts a number, or ask for more centroids "
            "with --per-organ."
        )
    below = {size: 1 - across - height for size, across, height in _scaled(wcss)}
    return max(below, key=lambda size: (below[size], -size))


def draw_elbow(wcss: Mapping[int, float], chosen: int, note: str) -> bytes:
    """The curve as an SVG picture, with the chosen number marked.

    Args:
        wcss: As in `elbow`; not empty.
        chosen: Number of experts that was taken; no mark where it is not on the curve.
        note: One line under the title.
    """
    places = {size: _place(across, height) for size, across, height in _scaled(wcss)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 18, "Within-cluster sum of squares of the centroids", size=14),
        _text(_WIDTH / 2, 34, note),
        f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="black"/>',
        _text((_LEFT + _RIGHT) / 2, _HEIGHT - 14, "experts"),
        *_ticks(wcss, places),
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places.values())}" fill="none" stroke="#1f6f8b"/>',
        *(_mark(x, y, size == chosen) for size, (x, y) in places.items()),
        "</svg>",
    ]
    return ("\n".join(parts) + "\n").encode()


def _scaled(wcss: Mapping[int, float]) -> Iterator[tuple[int, float, float]]:
    """Each number of clusters with its place on the two axes, 0…1; smallest first."""
    sizes = sorted(wcss)
    across, height = (sizes[-1] - sizes[0]) or 1, (wcss[sizes[0]] - wcss[sizes[-1]]) or 1.0
    for size in sizes:
        yield size, (size - sizes[0]) / across, (wcss[size] - wcss[sizes[-1]]) / height


def _place(across: float, height: float) -> tuple[float, float]:
    return _LEFT + 10 + across * (_RIGHT - _LEFT - 20), _BOTTOM - 5 - height * (_BOTTOM - _TOP - 15)


def _ticks(wcss: Mapping[int, float], places: Mapping[int, tuple[float, float]]) -> Iterator[str]:
    for size, (x, _) in places.items():
        yield _text(x, _BOTTOM + 18, str(size))
    for size in {min(wcss), max(wcss)}:
        yield _text(_LEFT - 8, places[size][1] + 4, f"{wcss[size]:.3g}", anchor="end")


def _mark(x: float, y: float, chosen: bool) -> str:
    radius, colour = (7, "#c2410c") if chosen else (4, "#1f6f8b")
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "middle") -> str:
    clean = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{clean}</text>'
