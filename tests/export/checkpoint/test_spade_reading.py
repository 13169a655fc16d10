"""SPADE checkpoints read whole or not at all, in both released naming schemes and in our own form."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from haiku_edge.export.checkpoint import SpadeCheckpoint, clustering_digest, read_spade, write_spade
from haiku_edge.export.checkpoint.spade_released import read_released
from haiku_edge.runtime.errors import (
    CheckpointError,
    CheckpointIncompleteError,
    CheckpointLayoutError,
    CheckpointUnsafeError,
    CheckpointValueError,
    DiskFullError,
    OutputExistsError,
)
from tests.conftest import largest_file
from tests.export.model.spade_made import SMALL, SMALL_MAP, small_centroids

from .spade_made import SCHEMES, expert_file, make_released, same_mixture, states

Edit = Callable[[Path], object]


@pytest.fixture
def released(tmp_path: Path) -> Path:
    return make_released(tmp_path / "released")


@pytest.fixture
def own(released: Path, tmp_path: Path) -> Path:
    """The same in our form, with genes' names."""
    found = read_spade(released)
    write_spade(tmp_path / "own", replace(found, genes=("ACTB", "CD3E", "KRT8", "VIM"), encoder="ab" * 32))
    return tmp_path / "own"


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Save an expert's file again with its tensors changed."""
    saved = torch.load(path, weights_only=True)
    saved["model"] = dict(saved["model"])
    edit(saved["model"])
    torch.save(saved, path)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_naming_and_wrapping_gives_the_same_experts(scheme: str, tmp_path: Path) -> None:
    folder = make_released(tmp_path / "made", scheme)
    found = read_spade(folder)
    assert (found.config.features, found.config.width, found.config.experts, found.config.centroids) == (6, 8, 3, 7)
    assert found.config.temperature == 0.1 and found.config.top is None
    for number, state in enumerate(states()):
        assert found.spot_heads is not None
        for key, value in state.items():
            part, _, name = key.partition(".")
            heads = found.image_heads if part == "image_projection" else found.spot_heads
            assert torch.equal(heads[number][name], value)
    assert found.expert_of.tolist() == list(SMALL_MAP) and np.array_equal(found.centroids, small_centroids().numpy())
    assert same_mixture(found.mixture())


def test_our_form_keeps_everything(released: Path, own: Path) -> None:
    first, again = read_spade(released), read_spade(own)
    assert again.genes == ("ACTB", "CD3E", "KRT8", "VIM") and again.encoder == "ab" * 32
    assert again.config == first.config and again.about == first.about and again.clustering == first.clustering
    assert same_mixture(again.mixture())
    counts, features = torch.rand(3, 4), torch.rand(3, 6)
    both = [checkpoint.mixture(spots=True).embed_spots(features, counts) for checkpoint in (first, again)]
    assert torch.equal(*both)
    assert {path.name for path in again.files} == {path.name for path in own.iterdir()}


@pytest.mark.parametrize("form", ["released", "own"])
def test_the_folder_of_a_training_is_refused_with_the_name_of_its_checkpoint(
    released: Path, own: Path, tmp_path: Path, form: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (released if form == "released" else own).rename(run / "checkpoint")
    with pytest.raises(CheckpointIncompleteError, match=re.escape(f"Name {run / 'checkpoint'}.")):
        read_spade(run)
    assert same_mixture(read_spade(run / "checkpoint").mixture())


def test_routing_and_lack_of_gene_heads_are_kept(released: Path, tmp_path: Path) -> None:
    found = read_spade(released)
    config = replace(found.config, temperature=0.7, top=2)
    write_spade(tmp_path / "images", replace(found, config=config, spot_heads=None))
    again = read_spade(tmp_path / "images")
    assert again.config == config and again.spot_heads is None
    with pytest.raises(ValueError, match="no gene heads"):
        again.mixture(spots=True).embed_spots(torch.rand(1, 6), torch.rand(1, 4))


def drop(key: str) -> Edit:
    return lambda folder: change(expert_file(folder, 1), lambda state: state.pop(key))


def put(key: str, value: torch.Tensor) -> Edit:
    return lambda folder: change(expert_file(folder, 1), lambda state: state.update({key: value}))


def keep(name: str, values: Any) -> Edit:
    return lambda folder: np.save(folder / name, values)


def run_code(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (folder.parent / "ran",))

    torch.save({"model": Evil()}, expert_file(folder, 1))


def save_several(folder: Path) -> None:
    np.savez(folder / "several.npz", a=np.ones(2))
    (folder / "several.npz").rename(folder / "centroids.npy")


REFUSED: dict[str, tuple[Edit, type[CheckpointError], str]] = {
    "a tensor is missing": (
        drop("image_projection.fc.bias"),
        CheckpointLayoutError,
        r"image head of expert 1(.|\n)*fc.bias",
    ),
    "a gene tensor is missing": (
        drop("spot_projection.layer_norm.weight"),
        CheckpointLayoutError,
        "gene head of expert 1",
    ),
    "a tensor is foreign": (put("proj.net.0.weight", torch.ones(2)), CheckpointLayoutError, r"proj\.net\.0\.weight"),
    "an unknown part": (put("image_projection.gate.weight", torch.ones(2)), CheckpointLayoutError, "unexpected"),
    "a shape is another": (put("image_projection.fc.weight", torch.ones(8, 7)), CheckpointLayoutError, "8 × 7"),
    "genes differ": (put("spot_projection.projection.weight", torch.ones(8, 5)), CheckpointLayoutError, "8 × 5"),
    "a type is another": (put("image_projection.fc.bias", torch.ones(8).half()), CheckpointLayoutError, "float16"),
    "a weight is no number": (
        put("spot_projection.fc.bias", torch.full((8,), torch.nan)),
        CheckpointValueError,
        "expert 1, gene head",
    ),
    "an expert is missing": (lambda f: expert_file(f, 2).unlink(), CheckpointIncompleteError, "expert 2"),
    "an expert is too many": (
        lambda f: torch.save({}, f / "uni_k3_best_proto3_ep001_val1.pt"),
        CheckpointLayoutError,
        "No centroid belongs to expert 3",
    ),
    "an expert is there twice": (
        lambda f: torch.save({}, f / "ep1_trloss1_valloss1_proto2.pt"),
        CheckpointLayoutError,
        "two files",
    ),
    "a file is named otherwise": (lambda f: torch.save({}, f / "uni.pt"), CheckpointLayoutError, "uni.pt is named"),
    "a file holds another expert": (
        lambda f: expert_file(f, 1).write_bytes(expert_file(f, 2).read_bytes()),
        CheckpointLayoutError,
        "holds expert 2, not 1",
    ),
    "a file is cut short": (
        lambda f: expert_file(f, 1).write_bytes(expert_file(f, 1).read_bytes()[:900]),
        CheckpointIncompleteError,
        "proto1",
    ),
    "a file would run code": (run_code, CheckpointUnsafeError, "could run any program"),
    "no experts": (lambda f: [path.unlink() for path in f.glob("*.pt")], CheckpointIncompleteError, "no expert's"),
    "no centroids": (lambda f: (f / "centroids.npy").unlink(), CheckpointIncompleteError, "centroids.npy is not in"),
    "no map": (lambda f: (f / "reassigned_clusters.npy").unlink(), CheckpointIncompleteError, "reassigned_clusters"),
    "centroids are no table": (keep("centroids.npy", np.ones(7)), CheckpointLayoutError, "not a table"),
    "centroids are whole numbers": (keep("centroids.npy", np.ones((7, 6), int)), CheckpointLayoutError, "int64"),
    "a centroid is no number": (keep("centroids.npy", np.full((7, 6), np.nan)), CheckpointValueError, "NaN"),
    "a centroid is beyond fp32": (keep("centroids.npy", np.full((7, 6), 1e300)), CheckpointValueError, "infinite"),
    "centroids are of other features": (keep("centroids.npy", np.ones((7, 5))), CheckpointLayoutError, "8 × 6"),
    "the map is shorter": (keep("reassigned_clusters.npy", np.arange(3)), CheckpointLayoutError, "7 centroids"),
    "the map holds fractions": (keep("reassigned_clusters.npy", np.ones(7)), CheckpointLayoutError, "float64"),
    "the map names an expert without a file": (
        keep("reassigned_clusters.npy", np.array([0, 1, 2, 3, 0, 0, 0])),
        CheckpointIncompleteError,
        "expert 3",
    ),
    "the map leaves a number out": (
        keep("reassigned_clusters.npy", np.array([0, 2, 2, 0, 0, 0, 0])),
        CheckpointLayoutError,
        "without a gap",
    ),
    "an array is pickled": (
        lambda f: (f / "centroids.npy").write_bytes(pickle.dumps([1])),
        CheckpointIncompleteError,
        "no array",
    ),
    "an array claims more than there is": (
        lambda f: (f / "centroids.npy").write_bytes(
            (f / "centroids.npy").read_bytes().replace(b"(7, 6)", b"(70000000000, 6)")
        ),
        CheckpointIncompleteError,
        "damaged",
    ),
    "several arrays": (
        save_several,
        CheckpointIncompleteError,
        "several arrays",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_released_checkpoint_that_is_not_whole_is_refused(case: str, released: Path) -> None:
    edit, error, message = REFUSED[case]
    edit(released)
    with pytest.raises(error, match=message):
        read_spade(released)
    assert not (released.parent / "ran").exists()


def test_a_file_larger_than_any_expert_is_not_read(released: Path) -> None:
    with pytest.raises(CheckpointUnsafeError, match="no such file has more"):
        read_released(released, limit=1000)


def restate(folder: Path, **changes: Any) -> None:
    """Change what `spade.json` says."""
    file = folder / "spade.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def save_other_expert(folder: Path) -> None:
    """An expert trained on another clustering, as its header says."""
    path = expert_file(folder, 1)
    save_file(
        load_file(path), path, {"clustering": clustering_digest(small_centroids().numpy() + 1, np.array(SMALL_MAP))}
    )


OWN_REFUSED: dict[str, tuple[Edit, type[CheckpointError], str]] = {
    "centroids of another run": (
        keep("centroids.npy", small_centroids().numpy() + 1),
        CheckpointLayoutError,
        "centroids.npy belongs to another clustering",
    ),
    "a map of another run": (
        keep("reassigned_clusters.npy", np.array(SMALL_MAP)[::-1]),
        CheckpointLayoutError,
        "another clustering",
    ),
    "an expert of another run": (save_other_expert, CheckpointLayoutError, "expert_01.safetensors belongs to another"),
    "an expert is missing": (lambda f: expert_file(f, 1).unlink(), CheckpointIncompleteError, "expert_01"),
    "an expert was altered": (
        lambda f: expert_file(f, 1).write_bytes(expert_file(f, 1).read_bytes()[:-1] + b"\x01"),
        CheckpointIncompleteError,
        "not the file",
    ),
    "an expert is cut short": (
        lambda f: expert_file(f, 1).write_bytes(expert_file(f, 1).read_bytes()[:300]),
        CheckpointIncompleteError,
        "expert_01.safetensors is damaged",
    ),
    "another schema": (lambda f: restate(f, schema="haiku-edge spade 9"), CheckpointLayoutError, "not of the form"),
    "no JSON": (lambda f: (f / "spade.json").write_text("{"), CheckpointIncompleteError, "damaged"),
    "JSON of something else": (lambda f: (f / "spade.json").write_text("[1]"), CheckpointIncompleteError, "damaged"),
    "genes of another panel": (lambda f: restate(f, genes=["ACTB"]), CheckpointLayoutError, "gene head of expert 0"),
    "about is no object": (lambda f: restate(f, about=["spots"]), CheckpointIncompleteError, "damaged"),
    "experts are no object": (
        lambda f: restate(f, experts=[f"expert_{n:02d}.safetensors" for n in range(3)]),
        CheckpointIncompleteError,
        "damaged",
    ),
    "an expert's digest is no text": (
        lambda f: restate(f, experts={f"expert_{n:02d}.safetensors": n for n in range(3)}),
        CheckpointIncompleteError,
        "damaged",
    ),
    "the encoder is no text": (lambda f: restate(f, encoder={"sha256": "0"}), CheckpointIncompleteError, "damaged"),
    "the encoder is a falsehood": (lambda f: restate(f, encoder=[]), CheckpointIncompleteError, "damaged"),
    "the clustering is no text": (lambda f: restate(f, clustering=["0"]), CheckpointIncompleteError, "damaged"),
    "a width that is no whole number": (
        lambda f: restate(f, config={**json.loads((f / "spade.json").read_text())["config"], "width": 4.0}),
        CheckpointIncompleteError,
        "damaged",
    ),
    "files elsewhere": (lambda f: restate(f, experts={"../x": "0"}), CheckpointIncompleteError, "damaged"),
}


@pytest.mark.parametrize("case", OWN_REFUSED)
def test_our_form_with_parts_of_another_run_is_refused(case: str, own: Path) -> None:
    edit, error, message = OWN_REFUSED[case]
    edit(own)
    with pytest.raises(error, match=message):
        read_spade(own)


def test_what_does_not_fit_is_not_written(released: Path, tmp_path: Path) -> None:
    found = read_spade(released)
    short: SpadeCheckpoint = replace(found, image_heads=found.image_heads[:-1])
    with pytest.raises(CheckpointLayoutError, match="2 image heads for 3 experts"):
        write_spade(tmp_path / "new", short)
    with pytest.raises(OutputExistsError):
        write_spade(released, found)
    with largest_file(600), pytest.raises(DiskFullError):
        write_spade(tmp_path / "new", found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["released"]


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncompleteError, match="no folder"):
        read_spade(tmp_path / "nowhere")


def test_the_digest_tells_clusterings_apart() -> None:
    centroids, expert_of = small_centroids().numpy(), np.array(SMALL_MAP)
    digest = clustering_digest(centroids, expert_of)
    assert digest == clustering_digest(centroids.copy(), expert_of.astype(np.int32))
    nudged = centroids.copy()
    nudged[3, 2] = np.nextafter(nudged[3, 2], np.float32(9))
    others = (nudged, expert_of), (centroids, expert_of[::-1].copy()), (centroids.reshape(6, 7), expert_of)
    assert len({digest, *(clustering_digest(*other) for other in others)}) == 4
    assert SMALL.centroids == len(expert_of)
