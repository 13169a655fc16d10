"""A question to the shared space: an H&E tile, an mIF patch, or words, as one unit vector."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle, panel_rows
from ..engine import Engine, open_tower
from ..errors import PanelError
from ..notes import Notes, parse_notes, read_notes
from ..vocabulary import Panel, canonical_panel, same_spelling
from .case_notes import embed_read_notes
from .gallery import Modality
from .patch_files import read_he_patch, read_mif_patch


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for.

    Attributes:
        modality: Of the query.
        of: What it is, in words, without a file's name or the words of a note.
        vector: (d,) float32 unit vector.
        pixels: (s, s, 3) uint8 RGB of an H&E tile, (c, s, s) uint8 of an mIF patch, or None for words.
        markers: The channels of an mIF patch, as the bundle names them.
        warnings: What to know of how it was read.
        device: What embedded it.
    """

    modality: Modality
    of: str
    vector: NDArray[np.float32]
    pixels: NDArray[np.uint8] | None = None
    markers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    device: str = ""


def he_query(bundle: Bundle, path: Path, *, device: str = "cpu", threads: int | None = None) -> Query:
    """Embed an H&E tile; see `read_he_patch` for what it may be.

    Raises:
        UnreadableDatasetError, PatchShapeError: The file can't be used.
    """
    section = bundle.manifest.need_he()
    pixels = read_he_patch(path, section.tile_size)
    engine = open_tower(bundle, section, device=device, threads=threads, strict=True)
    return Query("he", "an H&E tile", engine(tiles=pixels[None])[0], pixels, device=_in_words(engine))


def mif_query(
    bundle: Bundle,
    path: Path,
    markers: tuple[str, ...] | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
) -> Query:
    """Embed an mIF patch.

    Args:
        bundle: The bundle; it must have an mIF tower.
        path: The patch; see `read_mif_patch`.
        markers: Names of its channels, in their order; None takes those that an OME-TIFF states. Aliases are taken
            for what they mean (`vocabulary.canonical_panel`), and channels without a marker are left out.
        device: auto, tensorrt, cuda or cpu.
        threads: Threads to compute with; None takes all cores.

    Raises:
        BundleContentError: The bundle has no mIF tower.
        UnreadableDatasetError, PatchShapeError: The file can't be used.
        PanelError: The channels' names are unknown, ambiguous, named twice, missing, or not as many as there are
            channels.
    """
    section = bundle.manifest.need_mif()
    patch = read_mif_patch(path, section.patch_size)
    names = markers or patch.markers
    if names is None:
        raise PanelError("The mIF patch does not name its channels. Name them in their order: --markers DAPI,CD3e,…")
    if len(names) != len(patch.pixels):
        raise PanelError(f"The mIF patch has {len(patch.pixels)} channels, but {len(names)} markers are named.")
    panel = canonical_panel(names, section.markers)
    rows, pixels = panel_rows(panel.names, section.markers), patch.pixels[list(panel.rows)]
    engine = open_tower(bundle, section, device=device, threads=threads, strict=True)
    vector = engine(patches=pixels[None], markers=rows[None])[0]
    of = f"an mIF patch of {len(panel.names)} channels"
    return Query("mif", of, vector, pixels, panel.names, _remarks_on(panel), _in_words(engine))


def _in_words(engine: Engine) -> str:
    """The engine and its device. One query is embedded in fp32: nothing is won otherwise."""
    return f"{engine.device.provider}, {engine.device.precision}, on {engine.device.name}"


def _remarks_on(panel: Panel) -> tuple[str, ...]:
    """What was read otherwise than it was named; another spelling is not worth a word."""
    taken = tuple(
        f"The channel {name!a} is taken for {marker}: {reason}."
        for name, marker, reason in panel.renamed
        if not same_spelling(name, marker)
    )
    dropped = ", ".join(map(ascii, panel.dropped))
    return (*taken, f"Left out as channels without a marker: {dropped}.") if dropped else taken


def text_query(bundle: Bundle, text: str) -> Query:
    """Embed words; identifiers are taken out first.

    Raises:
        BundleContentError: The bundle has no text tower.
        NotesError: The text can't be used.
    """
    section = bundle.manifest.need_text()
    return _notes_query(
        bundle, parse_notes(json.dumps({"text": text}).encode()), f"words, at most {section.max_length} tokens of them"
    )


def notes_query(bundle: Bundle, path: Path) -> Query:
    """Embed the clinical facts of `notes.json` as the metadata-only prompt.

    Raises:
        BundleContentError: The bundle has no text tower.
        NotesError: The notes can't be used.
    """
    bundle.manifest.need_text()
    return _notes_query(bundle, read_notes(path), "clinical notes")


def _notes_query(bundle: Bundle, notes: Notes, of: str) -> Query:
    embedded = embed_read_notes(bundle, bundle.manifest.need_text(), notes)
    if embedded.vector is None:
        raise AssertionError("notes were given")
    dropped = tuple(f"left out as an identifier: {kind}" for kind in embedded.section.dropped)
    return Query("text", of, embedded.vector, warnings=(*embedded.section.warnings, *dropped))
