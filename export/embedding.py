"""Patches on disk to a cohort of vectors, with a bundle's own towers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.engine import Engine, open_tower
from haiku_edge.runtime.errors import CohortError, PatchShapeError
from haiku_edge.runtime.inference import Progress, Silent
from haiku_edge.runtime.inference.batching import batching
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from .atlas.positivity import otsu_positivity
from .dataset import SIDE, FolderDataset, PatchDataset, PatchSample
from .evaluation.embedded_cohort import MODALITIES, EmbeddedCohort
from .panel_rows import PanelRows
from .vocabulary.outcomes import is_outcome

MPP_TOLERANCE = 0.05
"""Patches may differ by this share from the resolution that the towers were made for."""


@dataclass(frozen=True, slots=True)
class TowerEngines:
    """A bundle's towers, running.

    Attributes:
        he: H&E tower.
        mif: mIF tower, or None.
        text: Text tower, or None.
        tokenizer: The text tower's, or None.
        markers: Names of the rows of the mIF tower's marker table, from row 1 on.
        batch: Patches that go through a tower at once.
    """

    he: Engine
    mif: Engine | None
    text: Engine | None
    tokenizer: Tokenizer | None
    markers: tuple[str, ...]
    batch: int


def open_towers(bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> TowerEngines:
    """Open all towers of a bundle.

    Raises:
        DeviceUnavailableError: The asked-for device is not there.
        BundleError: A tower is not usable.
    """
    manifest = bundle.manifest
    he, mif, text = (
        None if tower is None else open_tower(bundle, tower, device=device, threads=threads, kept=True)
        for tower in (manifest.need_he(), manifest.mif, manifest.text)
    )
    assert he is not None
    tokenizer = None
    if manifest.text is not None:
        tokenizer = Tokenizer.from_bytes(bundle.read(manifest.text.tokenizer), manifest.text.max_length)
    return TowerEngines(
        he, mif, text, tokenizer, () if manifest.mif is None else manifest.mif.markers, batching(bundle).tiles
    )


def embed_dataset(
    bundle: Bundle,
    dataset: PatchDataset,
    progress: Progress | None = None,
    *,
    modalities: Collection[str] = MODALITIES,
    device: str = "auto",
    threads: int | None = None,
    drop_unknown: bool = False,
    any_mpp: bool = False,
    outcomes: bool = False,
    hide: Collection[str] = (),
) -> EmbeddedCohort:
    """Embed every patch of a dataset, one batch at a time.

    A modality that some patches lack, or that the bundle has no tower for, is left out of the cohort as a whole; the
    progress says so.

    Args:
        bundle: Whose towers embed.
        dataset: The patches.
        progress: Told about every patch.
        modalities: Which of he, mif, text (the notes alone) and caption to embed.
        device: auto, tensorrt, cuda or cpu.
        threads: Threads to compute with; None takes all cores.
        drop_unknown: Leave out markers that the mIF tower does not know, instead of refusing them.
        any_mpp: Take patches of another resolution than the towers were made for.
        outcomes: Let the metadata-only text hold what only follow-up tells (`vocabulary.outcomes`). A new case has no
            such facts, and a query that has them knows what it should predict.
        hide: Other facts that the metadata-only text must not hold, such as the one that a head is to predict.

    Raises:
        PanelError: The mIF tower does not know a marker.
        PatchShapeError: The patches have another resolution than the towers were made for.
        DatasetError: A patch can't be read.
    """
    told = progress or Silent()
    _check_resolution(bundle, dataset, any_mpp)
    panels = PanelRows(bundle.manifest.mif.markers if bundle.manifest.mif else dataset.markers, drop_unknown)
    names = panels.all_of(dataset.markers)
    told.start("Opening the towers")
    towers = open_towers(bundle, device=device, threads=threads)
    told.finish()
    rows = _Rows(towers, panels, names, _Hidden(outcomes, frozenset(map(_plain, hide))), modalities)
    told.start("Embedding patches", len(dataset))
    for batch in _batches(dataset, towers.batch):
        rows.add(batch)
        told.advance(len(batch))
    told.finish()
    for line in (*panels.remarks, *rows.remarks()):
        told.say(line)
    return rows.cohort(dataset, names)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Facts that the notes' vectors must not see.

    Attributes:
        outcomes: Whether they may see how a case ended.
        keys: Others, by their plain form.
    """

    outcomes: bool
    keys: frozenset[str]

    def hides(self, key: str) -> bool:
        """Whether a fact is kept from the vectors."""
        return _plain(key) in self.keys or (not self.outcomes and is_outcome(key))


class _Rows:
    """The cohort as it grows."""

    def __init__(
        self,
        towers: TowerEngines,
        panels: PanelRows,
        names: tuple[str, ...],
        hidden: _Hidden,
        modalities: Collection[str],
    ) -> None:
        self._towers, self._panels, self._hidden = towers, panels, hidden
        self._column = {name: place for place, name in enumerate(names)}
        there = {"he": towers.he, "mif": towers.mif, "text": towers.text, "caption": towers.text}
        self._vectors: dict[str, list[NDArray[np.float32]] | None] = {
            name: [] for name in MODALITIES if name in modalities and there[name] is not None
        }
        self._texts: dict[str, NDArray[np.float32]] = {}
        self._expression: list[NDArray[np.float32]] = []
        self._places: list[tuple[float, float]] = []
        self._facts: dict[str, dict[str, str]] = {}
        self._disputed: dict[str, set[str]] = {}
        self._seen: set[str] = set()
        self._cut = 0

    def add(self, samples: Sequence[PatchSample]) -> None:
        """Embed a batch of samples of one panel."""
        self._append("he", samples, [sample.he is not None for sample in samples])
        self._append("mif", samples, [sample.mif is not None for sample in samples])
        self._append("text", samples, [True] * len(samples))
        self._append("caption", samples, [bool(sample.caption) for sample in samples])
        for sample in samples:
            self._expression.append(self._means(sample))
            unknown = float("nan")
            self._places.append((unknown if sample.x is None else sample.x, unknown if sample.y is None else sample.y))
            self._remember(sample)

    def cohort(self, dataset: PatchDataset, names: tuple[str, ...]) -> EmbeddedCohort:
        """What was embedded."""
        vectors = {name: np.concatenate(parts) for name, parts in self._vectors.items() if parts}
        if not vectors:
            raise CohortError(f"{dataset.name} has no patch that the bundle's towers can embed.")
        expression = np.stack(self._expression)
        places = np.array(self._places, np.float32)
        return EmbeddedCohort(
            markers=names,
            patches=dataset.patches,
            regions=dataset.regions,
            patients=dataset.patients,
            x=places[:, 0],
            y=places[:, 1],
            side=None if dataset.mpp is None else SIDE * dataset.mpp,
            vectors=vectors,
            expression=expression,
            positive=self._positive(dataset, expression),
            facts=self._facts,
            notes_keys=tuple(sorted(self._seen)) if "text" in vectors else None,
        )

    def remarks(self) -> list[str]:
        """What a reader of the cohort should know."""
        told = {"he": "H&E", "mif": "mIF", "caption": "captions"}
        lines = [
            f"Some patches have no {told[name]}, so the cohort has no {name} vectors."
            for name, parts in self._vectors.items()
            if parts is None
        ]
        if self._disputed:
            keys = sorted(set().union(*self._disputed.values()))
            lines.append(
                f"Regions of {len(self._disputed)} patients differ in {', '.join(keys)}; these facts were left out."
            )
        if self._cut:
            lines.append(f"{self._cut} texts are longer than the text tower reads; it read their beginning.")
        return lines

    def _append(self, name: str, samples: Sequence[PatchSample], present: Sequence[bool]) -> None:
        parts = self._vectors.get(name)
        if parts is None:
            return
        if not all(present):
            self._vectors[name] = None
        elif name == "he":
            parts.append(self._towers.he(tiles=np.stack([sample.he for sample in samples if sample.he is not None])))
        elif name == "mif":
            parts.append(self._mif(samples))
        else:
            parts.append(np.stack([self._text(name, sample) for sample in samples]))

    def _mif(self, samples: Sequence[PatchSample]) -> NDArray[np.float32]:
        assert self._towers.mif is not None
        names, channels = self._panels.of(samples[0].markers)
        patches = np.stack([sample.mif[channels] for sample in samples if sample.mif is not None])
        markers = np.repeat(self._panels.table_rows(names)[None], len(patches), axis=0)
        return self._towers.mif(patches=patches, markers=markers)

    def _text(self, name: str, sample: PatchSample) -> NDArray[np.float32]:
        facts = tuple((key, value) for key, value in sample.facts.items() if not self._hidden.hides(key))
        if name == "text":
            self._seen.update(key for key, _ in facts)
        text = metadata_prompt(facts) if name == "text" else sample.caption or ""
        if text not in self._texts:
            assert self._towers.text is not None
            assert self._towers.tokenizer is not None
            tokens = self._towers.tokenizer.encode(text)
            self._cut += tokens.truncated
            vector = self._towers.text(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)[0]
            if name != "text":  # captions hardly ever repeat
                return np.asarray(vector, np.float32)
            self._texts[text] = np.asarray(vector, np.float32)
        return self._texts[text]

    def _means(self, sample: PatchSample) -> NDArray[np.float32]:
        means = np.full(len(self._column), np.nan, np.float32)
        if sample.mif is not None:
            names, channels = self._panels.of(sample.markers)
            means[[self._column[name] for name in names]] = sample.mif[channels].mean(axis=(1, 2), dtype=np.float64)
        return means

    def _positive(self, dataset: PatchDataset, expression: NDArray[np.float32]) -> NDArray[np.float32]:
        if not isinstance(dataset, FolderDataset):
            return otsu_positivity(expression)
        names, channels = self._panels.of(dataset.markers)
        positive = np.full(expression.shape, np.nan, np.float32)
        positive[:, [self._column[name] for name in names]] = dataset.measurements.positive[:, channels]
        return np.where(np.isnan(expression), np.nan, positive).astype(np.float32)

    def _remember(self, sample: PatchSample) -> None:
        """Keep the facts on which all regions of a patient agree."""
        own, disputed = self._facts.setdefault(sample.patient, {}), self._disputed.get(sample.patient, set())
        for key, value in sample.facts.items():
            if key not in disputed and own.setdefault(key, value) != value:
                del own[key]
                self._disputed.setdefault(sample.patient, disputed).add(key)


def _batches(dataset: PatchDataset, size: int) -> Iterator[list[PatchSample]]:
    """Runs of samples with the same panel and the same modalities."""
    held: list[PatchSample] = []
    for sample in dataset:
        if held and (len(held) == size or _kind(held[0]) != _kind(sample)):
            yield held
            held = []
        held.append(sample)
    if held:
        yield held


def _kind(sample: PatchSample) -> tuple[object, ...]:
    return sample.markers, sample.he is None, sample.mif is None


def _plain(key: str) -> str:
    return key.casefold().replace(" ", "_").replace("-", "_")


def _check_resolution(bundle: Bundle, dataset: PatchDataset, any_mpp: bool) -> None:
    wanted = bundle.manifest.need_he().mpp if bundle.manifest.mif is None else bundle.manifest.mif.mpp
    if dataset.mpp is None or any_mpp or abs(dataset.mpp / wanted - 1) <= MPP_TOLERANCE:
        return
    raise PatchShapeError(
        f"The patches of {dataset.name} have {dataset.mpp:g} µm per pixel, the towers of {bundle.manifest.name} were "
        f"made for {wanted:g}. Cut the regions again with `haiku-edge atlas build --mpp {wanted:g}`, or pass --any-mpp "
        "if you want vectors of tissue at another scale."
    )
