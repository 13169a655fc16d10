"""`haiku-edge retrieve`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from haiku_edge.runtime.bundle import Bundle, opening_bundle
from haiku_edge.runtime.engine import check_device
from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.inference.look_up import look_up
from haiku_edge.runtime.inference.query import Query, he_query, mif_query, notes_query, text_query
from haiku_edge.runtime.notice import without_notice
from haiku_edge.runtime.report.document import document_json
from haiku_edge.runtime.report.retrieval import check_retrieval_folder, write_retrieval
from haiku_edge.runtime.report.retrieval_schema import FoundItem, RetrievalResult

_TOP_MARKERS = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line gives as the query; exactly one of the first four.

    Attributes:
        he: File of an H&E tile.
        mif: File of an mIF patch.
        text: Words.
        clinical: File of clinical notes.
        markers: Channels of the mIF patch, separated by commas.
    """

    he: Path | None
    mif: Path | None
    text: str | None
    clinical: Path | None
    markers: str | None


def run(
    asked: Asked,
    to: str,
    *,
    bundle: Path | None,
    top: int,
    excluded: tuple[str, ...],
    out: Path | None,
    device: str,
    threads: int | None,
    as_json: bool,
    force: bool = False,
) -> None:
    """Find what is nearest, show it as a table, and write the page where a folder is named."""
    check_device(device)
    if out is not None:
        check_retrieval_folder(out, force=force)
    ask = _ask(asked, device, threads)
    with opening_bundle(bundle) as opened:
        found = look_up(opened, ask, to, top=top, excluded=excluded)
    if as_json:
        typer.echo(document_json(found.result).decode(), nl=False)
    else:
        _show(found.result, Console())
    if out is not None:
        page = write_retrieval(out, found.result, found.images)[0]
        Console(stderr=True).print(f"Page: {page}", highlight=False, soft_wrap=True, markup=False)


def _ask(asked: Asked, device: str, threads: int | None) -> Callable[[Bundle], Query]:
    """How the query is made, once it is known that there is one and only one."""
    given = [name for name in ("he", "mif", "text", "clinical") if getattr(asked, name) is not None]
    if len(given) != 1:
        raise UsageError("Give one of --he, --mif, --text and --clinical, and only one.")
    if asked.markers is not None and asked.mif is None:
        raise UsageError("--markers names the channels of --mif, and goes with nothing else.")
    if asked.he is not None:
        he = asked.he
        return lambda bundle: he_query(bundle, he, device=device, threads=threads)
    if asked.mif is not None:
        mif, names = asked.mif, None if asked.markers is None else _names(asked.markers)
        return lambda bundle: mif_query(bundle, mif, names, device=device, threads=threads)
    if asked.clinical is not None:
        notes = asked.clinical
        return lambda bundle: notes_query(bundle, notes)
    text = asked.text or ""
    return lambda bundle: text_query(bundle, text)


def _names(markers: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in markers.split(","))


def _show(result: RetrievalResult, console: Console) -> None:
    for warning in result.query.warnings:
        console.print(f"! {warning}", style="yellow", highlight=False, markup=False)
    console.print(f"Searched {result.gallery}.", highlight=False, markup=False)
    console.print(_table(result))
    if result.bundle.synthetic:
        console.print(without_notice(result.bundle.statement), highlight=False, markup=False)
    console.print(result.notice, style="bold", highlight=False)


def _table(result: RetrievalResult) -> Table:
    """One line an item, without columns that nothing stands in."""
    names = ("", "Item", "Patient", "Organ", "Cosine", "Farthest from average, z")
    columns = list(zip(*map(_cells, result.found), strict=True)) or [()] * len(names)
    shown = [(name, cells) for name, cells in zip(names, columns, strict=True) if any(cells)]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name, _ in shown:
        table.add_column(name, no_wrap=True, justify="right" if name in ("", "Cosine") else "left")
    for row in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*row)
    return table


def _cells(item: FoundItem) -> tuple[str, ...]:
    markers = ", ".join(f"{one.marker} {one.z:+.1f}" for one in item.markers[:_TOP_MARKERS])
    return (str(item.rank), item.item, item.patient, item.organ or "", f"{item.similarity:.3f}", markers)
