"""A bundle says whom its towers learned from, as digests of names, and is refused where it contradicts itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from haiku_edge.export.bundle import write_bundle
from haiku_edge.export.trained_on import TRAINING_FILE, training_part
from haiku_edge.runtime.bundle import Description, KnownPatients, bundle_info, open_bundle, read_known_patients
from haiku_edge.runtime.errors import BundleContentError, BundleSchemaError

KNOWN = KnownPatients.of_names(["Müller-1", "P2"], ["P3"])


@pytest.fixture
def folder(tmp_path: Path, description: Description, contents: dict[str, bytes]) -> Path:
    section, files = training_part(KNOWN)
    write_bundle(tmp_path / "b", description.model_copy(update={"training": section}), {**contents, **files})
    return tmp_path / "b"


def _rewritten(folder: Path, document: object) -> Path:
    """The same bundle with another file of digests."""
    bundle = open_bundle(folder)
    description = Description.model_validate_json(bundle.manifest.model_dump_json(exclude={"files"}))
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    write_bundle(folder, description, {**files, TRAINING_FILE: json.dumps(document).encode()})
    return folder


def test_the_file_holds_digests_and_no_name(folder: Path) -> None:
    text = (folder / TRAINING_FILE).read_text()
    stated = json.loads(text)
    assert stated["train"] == sorted(hashlib.sha256(name.encode()).hexdigest() for name in ("Müller-1", "P2"))
    assert stated["held_out"] == [hashlib.sha256(b"P3").hexdigest()]
    assert "ller-1" not in text and '"P2"' not in text


def test_a_bundle_knows_whom_it_was_trained_on_and_who_judged(folder: Path) -> None:
    known = read_known_patients(open_bundle(folder))
    assert known.among(["P1", "P3", "P2", "P2", "p2", "Müller-1"]) == ("Müller-1", "P2", "P3")
    assert bundle_info(open_bundle(folder))["training"] == {"patients": 2, "held_out": 1, "complete": True}


def test_where_nobody_says_nothing_is_known(bundle_folder: Path) -> None:
    bundle = open_bundle(bundle_folder)
    assert not read_known_patients(bundle)
    assert bundle_info(bundle)["training"] is None


def test_what_began_as_weights_of_unknown_patients_does_not_claim_to_know_all() -> None:
    tuned = KNOWN.with_earlier(KnownPatients())
    assert tuned and not tuned.complete and tuned.train == KNOWN.train
    again = KnownPatients.of_names(["P9"]).with_earlier(tuned)
    assert not again.complete and again.among(["P2", "P3", "P9"]) == ("P2", "P3", "P9")
    assert KnownPatients.from_json(again.to_json()) == again


DIGEST = hashlib.sha256(b"P2").hexdigest()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"train": [DIGEST]},
        {"train": ["P2"], "held_out": []},
        {"train": [DIGEST.upper()], "held_out": []},
        {"train": [DIGEST], "held_out": [], "names": ["P2"]},
        {"train": [DIGEST], "held_out": [], "complete": True},
        {"train": [DIGEST, DIGEST], "held_out": [hashlib.sha256(b"P3").hexdigest()], "complete": True},
    ],
)
def test_digests_that_are_none_or_not_as_many_as_stated_are_refused(folder: Path, document: object) -> None:
    bundle = open_bundle(_rewritten(folder, document))
    with pytest.raises(BundleContentError, match="Export the bundle again"):
        read_known_patients(bundle)


def _with_manifest(folder: Path, **changes: object) -> Path:
    manifest = {**json.loads((folder / "bundle.json").read_text()), **changes}
    data = json.dumps({key: value for key, value in manifest.items() if value is not None}).encode()
    (folder / "bundle.json").write_bytes(data)
    (folder / "bundle.sha256").write_text(hashlib.sha256(data).hexdigest() + "\n")
    return folder


def test_a_bundle_of_the_earlier_schema_is_read_and_written_in_the_new(bundle_folder: Path, tmp_path: Path) -> None:
    old = open_bundle(_with_manifest(bundle_folder, schema_version="1.1"))
    assert old.manifest.schema_version == "1.1" and not read_known_patients(old)
    description = Description.model_validate_json(old.manifest.model_dump_json(exclude={"files"}))
    write_bundle(tmp_path / "new", description, {name: old.read(name) for name in old.manifest.files})
    assert json.loads((tmp_path / "new" / "bundle.json").read_text())["schema_version"] == "1.3"


def test_the_earlier_schema_has_no_training(folder: Path) -> None:
    with pytest.raises(BundleSchemaError, match=r"1\.2"):
        open_bundle(_with_manifest(folder, schema_version="1.1"))
