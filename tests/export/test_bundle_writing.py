"""A bundle appears whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from haiku_edge.export.bundle import write_bundle
from haiku_edge.runtime.bundle import Description, open_bundle
from haiku_edge.runtime.errors import BundleLinkError, BundleSchemaError, OutputExistsError, OutputNotWritableError

DESCRIPTION = Description.model_validate_json(
    """{
    "name": "written", "version": "1", "synthetic": true, "statement": "Bytes.", "created_by": "tests 0",
    "embedding_dimension": 4, "he": {"file": "he", "tile_size": 256, "mpp": 0.5},
    "text": {"file": "text", "tokenizer": "tokenizer", "max_length": 8},
    "atlas": {"vectors": "v", "index": {"kind": "exact", "file": null, "dimension": 4, "count": 1}, "patches": "p",
              "pictures": "a/pictures", "markers": ["DAPI"], "patch_count": 1, "patient_count": 1},
    "calibration": {"file": "c", "patients": 1, "cases": 1}, "golden": {"file": "g"}}"""
)
CONTENTS = {name: name.encode() for name in ("he", "text", "tokenizer", "v", "p", "a/pictures", "c", "g")}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != "bundle"]


def test_a_written_bundle_opens_and_others_may_read_it(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "new" / "bundle", DESCRIPTION, CONTENTS)
    bundle = open_bundle(tmp_path / "new" / "bundle")
    assert bundle.manifest == manifest
    assert {name: bundle.read(name) for name in CONTENTS} == CONTENTS
    assert stat.S_IMODE((tmp_path / "new" / "bundle").stat().st_mode) == 0o755
    assert leftovers(tmp_path / "new") == []


def test_the_same_content_gives_the_same_digest(tmp_path: Path) -> None:
    write_bundle(tmp_path / "one", DESCRIPTION, CONTENTS)
    write_bundle(tmp_path / "two", DESCRIPTION, dict(reversed(CONTENTS.items())))
    assert open_bundle(tmp_path / "one").digest == open_bundle(tmp_path / "two").digest


def test_an_older_bundle_is_replaced_and_nothing_of_it_stays(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", DESCRIPTION, {**CONTENTS, "old": b"old"})
    write_bundle(tmp_path / "bundle", DESCRIPTION, CONTENTS)
    assert "old" not in open_bundle(tmp_path / "bundle").manifest.files
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("what", ["file", "folder with other things", "link"])
def test_what_is_no_bundle_is_left_alone(tmp_path: Path, what: str) -> None:
    place = tmp_path / "bundle"
    if what == "file":
        place.write_text("precious")
    elif what == "link":
        (tmp_path / "target").mkdir()
        place.symlink_to(tmp_path / "target")
    else:
        place.mkdir()
        (place / "precious").write_text("precious")
    with pytest.raises(OutputExistsError):
        write_bundle(place, DESCRIPTION, CONTENTS)
    assert place.is_symlink() or place.is_file() or (place / "precious").read_text() == "precious"


def test_an_old_bundle_stays_where_the_new_one_can_not_be_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "bundle", DESCRIPTION, CONTENTS)
    before = open_bundle(tmp_path / "bundle").digest
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputNotWritableError):
        write_bundle(tmp_path / "bundle", DESCRIPTION, {**CONTENTS, "new": b""})
    assert open_bundle(tmp_path / "bundle").digest == before
    assert leftovers(tmp_path) == []


def test_a_missing_file_and_a_path_out_of_the_bundle_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BundleSchemaError, match="does not list he"):
        write_bundle(tmp_path / "bundle", DESCRIPTION, {name: b"" for name in CONTENTS if name != "he"})
    with pytest.raises(BundleLinkError):
        write_bundle(tmp_path / "bundle", DESCRIPTION, {**CONTENTS, "../outside": b""})
    assert not list(tmp_path.iterdir())


def test_a_place_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputNotWritableError):
        write_bundle(tmp_path / "file" / "bundle", DESCRIPTION, CONTENTS)


def test_a_full_disk_leaves_the_old_bundle_and_no_half_one(tmp_path: Path) -> None:
    """No file may grow past 64 KiB, as on a disk that fills."""
    write_bundle(tmp_path / "bundle", DESCRIPTION, CONTENTS)
    before = open_bundle(tmp_path / "bundle").digest
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from haiku_edge.export.bundle import write_bundle\n"
        "from haiku_edge.runtime.bundle import Description\n"
        "from haiku_edge.runtime.errors import DiskFullError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (65536, {resource.RLIM_INFINITY}))\n"
        "description = Description.model_validate_json(sys.argv[2])\n"
        f"contents = {{**{CONTENTS!r}, 'large': bytes(1 << 20)}}\n"
        "try:\n    write_bundle(Path(sys.argv[1]), description, contents)\n"
        "except DiskFullError:\n    raise SystemExit(7)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bundle"), DESCRIPTION.model_dump_json()]
    ended = subprocess.run(command, check=False, capture_output=True)
    assert ended.returncode == 7, ended.stderr.decode()
    assert open_bundle(tmp_path / "bundle").digest == before
    assert leftovers(tmp_path) == []
