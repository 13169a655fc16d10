"""A bundle is refused whole for whatever was done to it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haiku_edge.runtime.bundle import Bundle, bundle_info, open_bundle
from haiku_edge.runtime.errors import (
    BundleAlteredError,
    BundleError,
    BundleLinkError,
    BundleNotFoundError,
    BundleSchemaError,
    UsageError,
)


@pytest.fixture(params=[32 << 20, -1], ids=["small", "large"], autouse=True)
def kept_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether these files count as small, which stay in memory, or as large, which threads verify."""
    monkeypatch.setattr("haiku_edge.runtime.bundle.open.KEPT_FILE_BYTES", request.param)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as someone would who can also make its digest right."""
    manifest = json.loads((folder / "bundle.json").read_bytes())
    change(manifest)
    _reseal_bytes(folder, json.dumps(manifest).encode())


def _reseal_bytes(folder: Path, data: bytes) -> None:
    (folder / "bundle.json").write_bytes(data)
    (folder / "bundle.sha256").write_text(hashlib.sha256(data).hexdigest() + "\n")


def test_an_untouched_bundle_gives_the_very_bytes_that_were_shipped(
    bundle_folder: Path, contents: dict[str, bytes]
) -> None:
    bundle = open_bundle(bundle_folder)
    assert {name: bundle.read(name) for name in bundle.manifest.files} == contents
    assert bundle.digest == hashlib.sha256((bundle_folder / "bundle.json").read_bytes()).hexdigest()


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_flipped_bit_anywhere_is_refused(bundle_folder: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_files(bundle_folder)))
    original = path.read_bytes()
    place = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    try:
        with pytest.raises(BundleAlteredError, match=path.name):
            open_bundle(bundle_folder)
    finally:
        path.write_bytes(original)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_short_or_grown_is_refused(bundle_folder: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_files(bundle_folder)))
    original = path.read_bytes()
    length = data.draw(st.integers(0, len(original) + 3).filter(lambda n: n != len(original)))
    path.write_bytes((original + b"\n\n\n")[:length])
    try:
        with pytest.raises(BundleAlteredError, match=path.name):
            open_bundle(bundle_folder)
    finally:
        path.write_bytes(original)


def test_a_missing_file_is_named(bundle_folder: Path) -> None:
    (bundle_folder / "towers" / "he.onnx").unlink()
    with pytest.raises(BundleAlteredError, match=r"towers/he\.onnx is missing"):
        open_bundle(bundle_folder)


def test_a_renamed_file_is_refused(bundle_folder: Path) -> None:
    (bundle_folder / "towers" / "he.onnx").rename(bundle_folder / "towers" / "HE.onnx")
    with pytest.raises(BundleAlteredError, match="missing"):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("name", ["extra.bin", "towers/.hidden", "towers/he.onnx.data", "new/folder/file"])
def test_an_extra_file_is_named(bundle_folder: Path, name: str) -> None:
    (bundle_folder / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle_folder / name).write_bytes(b"")
    with pytest.raises(BundleAlteredError, match="extra") as refusal:
        open_bundle(bundle_folder)
    assert name.split("/")[0] in str(refusal.value)


def test_an_extra_empty_folder_is_refused(bundle_folder: Path) -> None:
    (bundle_folder / "towers" / "empty").mkdir()
    with pytest.raises(BundleAlteredError, match="towers/empty is extra"):
        open_bundle(bundle_folder)


def test_two_files_that_changed_places_are_refused(bundle_folder: Path) -> None:
    one, other = bundle_folder / "towers" / "he.onnx", bundle_folder / "towers" / "text.onnx"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(BundleAlteredError):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("name", ["bundle.json", "bundle.sha256", "towers/he.onnx", "extra"])
def test_a_symbolic_link_to_the_right_bytes_is_refused(bundle_folder: Path, tmp_path: Path, name: str) -> None:
    path, elsewhere = bundle_folder / name, tmp_path / "elsewhere"
    if path.exists():
        path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(BundleLinkError, match="link"):
        open_bundle(bundle_folder)


def test_a_link_to_a_folder_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    (bundle_folder / "towers").rename(tmp_path / "towers")
    (bundle_folder / "towers").symlink_to(tmp_path / "towers", target_is_directory=True)
    with pytest.raises(BundleLinkError, match="towers"):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("name", ["bundle.json", "towers/he.onnx"])
def test_a_hard_link_is_refused(bundle_folder: Path, tmp_path: Path, name: str) -> None:
    os.link(bundle_folder / name, tmp_path / "second name")
    with pytest.raises(BundleLinkError, match=r"hard link.*no-preserve=links"):
        open_bundle(bundle_folder)


def test_the_shipped_bundle_may_be_hard_linked_as_installers_do(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.link(bundle_folder / "towers" / "he.onnx", tmp_path / "second name")
    monkeypatch.setattr("haiku_edge.runtime.bundle.open._shipped_root", lambda folder: bundle_folder)
    assert open_bundle(None).embedded
    (tmp_path / "second name").write_bytes(b"changed through its second name")
    with pytest.raises(BundleAlteredError):
        open_bundle(None)


@pytest.mark.parametrize("name", ["bundle.json", "towers/he.onnx", "another"])
def test_a_fifo_is_refused_and_not_waited_for(bundle_folder: Path, name: str) -> None:
    (bundle_folder / name).unlink(missing_ok=True)
    os.mkfifo(bundle_folder / name)
    with pytest.raises(BundleAlteredError, match="file"):
        open_bundle(bundle_folder)


def test_a_socket_is_refused(bundle_folder: Path) -> None:
    here = Path.cwd()
    os.chdir(bundle_folder)  # a socket's path may not be long
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
    finally:
        os.chdir(here)
    with pytest.raises(BundleAlteredError, match="neither file nor folder"):
        open_bundle(bundle_folder)


def test_a_folder_in_the_place_of_a_file_is_refused(bundle_folder: Path) -> None:
    (bundle_folder / "MODEL_CARD.md").unlink()
    (bundle_folder / "MODEL_CARD.md").mkdir()
    with pytest.raises(BundleAlteredError, match=r"MODEL_CARD\.md"):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("escape", ["../outside", "/etc/hostname", "towers/../../outside", "a\\b", "C:/x", "~/x"])
def test_a_path_out_of_the_bundle_is_refused_though_its_digest_is_right(bundle_folder: Path, escape: str) -> None:
    def add(manifest: dict[str, Any]) -> None:
        manifest["files"][escape] = {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}

    _reseal(bundle_folder, add)
    with pytest.raises(BundleLinkError, match="outside"):
        open_bundle(bundle_folder)


def test_a_tower_named_outside_the_bundle_is_refused(bundle_folder: Path) -> None:
    _reseal(bundle_folder, lambda manifest: manifest["he"].update(file="../he.onnx"))
    with pytest.raises(BundleLinkError, match="outside"):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("version", ["0.9", "1.0", "2.0", None, 1.0, ["1.0"]])
def test_an_unknown_schema_version_says_which_are_known(bundle_folder: Path, version: object) -> None:
    _reseal(bundle_folder, lambda manifest: manifest.update(schema_version=version))
    with pytest.raises(BundleSchemaError, match=r"reads 1\.1"):
        open_bundle(bundle_folder)


def _duplicate_by_case(manifest: dict[str, Any]) -> None:
    manifest["files"]["towers/HE.onnx"] = manifest["files"]["towers/he.onnx"]


def _file_named_as_a_folder(manifest: dict[str, Any]) -> None:
    manifest["files"]["towers"] = manifest["files"]["towers/he.onnx"]


def _unlisted_tower(manifest: dict[str, Any]) -> None:
    manifest["he"]["file"] = "towers/other.onnx"


def _unknown_key(manifest: dict[str, Any]) -> None:
    manifest["he"]["plugin"] = "x"


def _missing_key(manifest: dict[str, Any]) -> None:
    del manifest["statement"]


def _number_as_text(manifest: dict[str, Any]) -> None:
    manifest["embedding_dimension"] = "4"


def _other_dimension(manifest: dict[str, Any]) -> None:
    manifest["embedding_dimension"] = 5


def _other_count(manifest: dict[str, Any]) -> None:
    manifest["atlas"]["index"]["count"] = 4


def _graph_without_file(manifest: dict[str, Any]) -> None:
    manifest["atlas"]["index"]["kind"] = "hnsw"


def _marker_twice(manifest: dict[str, Any]) -> None:
    manifest["atlas"]["markers"] = ["DAPI", "DAPI"]


def _lists_itself(manifest: dict[str, Any]) -> None:
    manifest["files"]["bundle.json"] = manifest["files"]["towers/he.onnx"]


@pytest.mark.parametrize(
    "change",
    [
        _duplicate_by_case,
        _file_named_as_a_folder,
        _unlisted_tower,
        _unknown_key,
        _missing_key,
        _number_as_text,
        _other_dimension,
        _other_count,
        _graph_without_file,
        _marker_twice,
        _lists_itself,
    ],
)
def test_a_manifest_against_the_schema_is_refused(
    bundle_folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    _reseal(bundle_folder, change)
    with pytest.raises(BundleSchemaError):
        open_bundle(bundle_folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema_version": "1.1", "schema_version": "1.1"}',
        b'{"schema_version": NaN}',
        b'{"schema_version": "1.1"}',
    ],
)
def test_what_is_no_manifest_is_refused(bundle_folder: Path, data: bytes) -> None:
    _reseal_bytes(bundle_folder, data)
    with pytest.raises(BundleSchemaError):
        open_bundle(bundle_folder)


@given(
    noise=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5), data=st.data()
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_value_a_manifest_holds_it_opens_or_is_refused_in_words(
    bundle_folder: Path, noise: object, data: st.DataObject
) -> None:
    original = (bundle_folder / "bundle.json").read_bytes()
    key = data.draw(st.sampled_from(sorted(json.loads(original))))
    _reseal(bundle_folder, lambda manifest: manifest.update({key: noise}))
    try:
        open_bundle(bundle_folder)
    except BundleError as refusal:
        assert str(refusal)
    finally:
        _reseal_bytes(bundle_folder, original)


def test_a_place_without_a_bundle_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "nothing", tmp_path, tmp_path / "file"):
        with pytest.raises(BundleNotFoundError, match="--bundle"):
            open_bundle(place)


@pytest.mark.parametrize("name", ["a" * 300, "/".join(["a" * 200] * 30)], ids=["name", "path"])
def test_a_name_that_no_file_system_takes_is_refused_in_words(name: str) -> None:
    with pytest.raises(BundleError, match="can't be read"):
        open_bundle(Path(name))


def test_a_link_to_nothing_is_not_taken_for_the_name_of_what_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("spade").symlink_to("nowhere")
    with pytest.raises(BundleNotFoundError, match="no bundle in spade"):
        open_bundle(Path("spade"))


def test_a_digest_that_is_missing_is_said(bundle_folder: Path) -> None:
    (bundle_folder / "bundle.sha256").unlink()
    with pytest.raises(BundleAlteredError, match=r"bundle\.sha256 is missing"):
        open_bundle(bundle_folder)


def test_a_bundle_reached_by_a_link_to_its_folder_opens(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(bundle_folder)
    assert open_bundle(tmp_path / "current").root == bundle_folder.resolve()


def test_a_large_file_that_changes_after_opening_is_refused_when_read(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes]
) -> None:
    monkeypatch.setattr("haiku_edge.runtime.bundle.open.KEPT_FILE_BYTES", -1)
    bundle = open_bundle(bundle_folder)
    assert bundle.read("towers/he.onnx") == contents["towers/he.onnx"]
    (bundle_folder / "towers" / "he.onnx").write_bytes(b"x" * len(contents["towers/he.onnx"]))
    with pytest.raises(BundleAlteredError):
        bundle.read("towers/he.onnx")
    shutil.rmtree(bundle_folder)
    with pytest.raises(BundleNotFoundError):
        bundle.read("towers/he.onnx")


def test_a_change_on_disk_after_opening_does_not_reach_what_was_kept(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes]
) -> None:
    monkeypatch.setattr("haiku_edge.runtime.bundle.open.KEPT_FILE_BYTES", 32 << 20)
    bundle = open_bundle(bundle_folder)
    (bundle_folder / "towers" / "he.onnx").write_bytes(b"evil")
    assert bundle.read("towers/he.onnx") == contents["towers/he.onnx"]


@pytest.mark.parametrize("name", ["bundle.json", "../bundle/MODEL_CARD.md", "nothing"])
def test_only_listed_files_are_read(bundle_folder: Path, name: str) -> None:
    bundle = open_bundle(bundle_folder)
    with pytest.raises(UsageError):
        bundle.read(name)


def test_the_summary_is_plain_json_and_says_synthetic(bundle_folder: Path, contents: dict[str, bytes]) -> None:
    bundle: Bundle = open_bundle(bundle_folder)
    told = json.loads(json.dumps(bundle_info(bundle)))
    assert told["synthetic"] is True
    assert told["size"] == sum(map(len, contents.values()))
    assert told["atlas"]["patients"] == 2
