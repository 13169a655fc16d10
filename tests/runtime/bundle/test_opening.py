"""While a bundle's large files are still verified, what is read was; and nothing is over before all were."""

from __future__ import annotations

import shutil
import threading
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.bundle import write_bundle
from haiku_edge.runtime.bundle import Description, open_bundle, opening_bundle
from haiku_edge.runtime.errors import BundleAlteredError, BundleError, BundleLinkError
from haiku_edge.runtime.inference.model import open_model
from haiku_edge.runtime.inference.options import PredictOptions

BUFFER = 1 << 20
NAMES = ["MODEL_CARD.md", "atlas/vectors.npy", "golden/cases.npz", "towers/he.onnx", "towers/text.onnx"]


@pytest.fixture(autouse=True)
def every_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haiku_edge.runtime.bundle.open.KEPT_FILE_BYTES", -1)


def _alter(path: Path, place: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_what_the_block_reads_is_what_was_shipped(bundle_folder: Path, contents: dict[str, bytes]) -> None:
    with opening_bundle(bundle_folder) as bundle:
        assert {name: bundle.read(name) for name in bundle.manifest.files} == contents
    assert {name: bundle.read(name) for name in bundle.manifest.files} == contents


@pytest.mark.parametrize("name", NAMES)
def test_an_altered_file_that_nobody_reads_is_refused_before_the_block_is_over(bundle_folder: Path, name: str) -> None:
    _alter(bundle_folder / name)
    entered = False
    with pytest.raises(BundleAlteredError, match=name), opening_bundle(bundle_folder):
        entered = True
    assert entered
    with pytest.raises(BundleAlteredError, match=name):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("name", NAMES)
def test_an_altered_file_is_never_handed_out_and_its_refusal_cant_be_ignored(bundle_folder: Path, name: str) -> None:
    _alter(bundle_folder / name)
    with pytest.raises(BundleAlteredError, match=name), opening_bundle(bundle_folder) as bundle:
        for _ in range(2):
            with pytest.raises(BundleAlteredError, match=name):
                bundle.read(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_was_read_is_not_read_again(bundle_folder: Path, contents: dict[str, bytes], name: str) -> None:
    with opening_bundle(bundle_folder) as bundle:
        assert bundle.read(name) == contents[name]
        (bundle_folder / name).unlink()


def test_a_file_that_becomes_a_link_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleLinkError, match="towers"), opening_bundle(bundle_folder) as bundle:
        bundle.read("MODEL_CARD.md")
        (bundle_folder / "towers").rename(tmp_path / "towers")
        (bundle_folder / "towers").symlink_to(tmp_path / "towers", target_is_directory=True)
        with pytest.raises(BundleLinkError):
            bundle.read("towers/he.onnx")


def test_an_error_of_the_block_is_not_hidden_by_an_altered_file(bundle_folder: Path) -> None:
    _alter(bundle_folder / "MODEL_CARD.md")
    with pytest.raises(ZeroDivisionError), opening_bundle(bundle_folder):
        raise ZeroDivisionError


def test_what_can_be_seen_at_once_is_refused_before_the_block_begins(bundle_folder: Path) -> None:
    (bundle_folder / "MODEL_CARD.md").unlink()
    with pytest.raises(BundleError), opening_bundle(bundle_folder):
        pytest.fail("the block began")


@pytest.mark.parametrize("started", [0, 1])
def test_without_a_thread_to_be_had_all_is_verified_all_the_same(
    bundle_folder: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    """The machine refuses threads, at once or after the first."""
    left, start = [started], threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with opening_bundle(bundle_folder) as bundle:
        assert bundle.read("towers/he.onnx") == contents["towers/he.onnx"]
    assert {name: bundle.read(name) for name in bundle.manifest.files} == contents
    for name in NAMES:
        left[0] = started
        _alter(bundle_folder / name)
        with pytest.raises(BundleAlteredError, match=name):
            open_bundle(bundle_folder)
        _alter(bundle_folder / name)


@pytest.mark.parametrize("size", [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 7])
def test_files_of_any_length_are_verified_to_their_last_byte(
    tmp_path: Path, description: Description, contents: dict[str, bytes], size: int
) -> None:
    content = np.random.default_rng(size).bytes(size)
    write_bundle(tmp_path / "bundle", description, {**contents, "large": content})
    assert open_bundle(tmp_path / "bundle").read("large") == content
    for place in {0, size // 2, size - 1} - {-1} if size else ():
        _alter(tmp_path / "bundle/large", place)
        with pytest.raises(BundleAlteredError, match="large"):
            open_bundle(tmp_path / "bundle")
        _alter(tmp_path / "bundle/large", place)
    for other in (content + b"\0", content[:-1]):
        (tmp_path / "bundle/large").write_bytes(other)
        if other != content:
            with pytest.raises(BundleAlteredError, match="large"):
                open_bundle(tmp_path / "bundle")


def test_predict_refuses_a_bundle_for_a_tower_that_it_never_runs(tmp_path: Path) -> None:
    folder = shutil.copytree(str(files("haiku_edge.engines") / "embedded"), tmp_path / "bundle")
    assert open_model(PredictOptions(bundle=folder)).bundle.embedded is False
    _alter(folder / "towers/mif.onnx", 1000)
    with pytest.raises(BundleAlteredError, match=r"mif\.onnx"):
        open_model(PredictOptions(bundle=folder))
