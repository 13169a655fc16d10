"""The documented exit codes are those of the tree of errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from haiku_edge.cli.errors import UNEXPECTED
from haiku_edge.runtime.errors import HaikuEdgeError

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "outputs.md"


def _errors(kind: type[HaikuEdgeError] = HaikuEdgeError) -> Iterator[type[HaikuEdgeError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == "haiku_edge.runtime.errors":
            yield from _errors(below)


def table() -> str:
    """The table as it stands in docs/outputs.md."""
    rows = {error.exit_code: (error.__name__, (error.__doc__ or "").splitlines()[0]) for error in _errors()}
    lines = ["| code | error | what |", "|---:|---|---|", "| 0 | – | Done. |"]
    lines += [f"| {code} | `{name}` | {what} |" for code, (name, what) in sorted(rows.items())]
    return "\n".join(lines)


def test_the_documented_table_is_current() -> None:
    """If not: put what `table()` gives into the section 'Exit codes'."""
    assert table() in DOCUMENT.read_text("utf-8")


def test_no_two_errors_share_a_code() -> None:
    kinds = list(_errors())
    assert len({error.exit_code for error in kinds}) == len(kinds)
    assert UNEXPECTED not in {error.exit_code for error in kinds}
    assert str(UNEXPECTED) in DOCUMENT.read_text("utf-8")
