"""Write a bundle: every file beside its place and flushed, the manifest's digest last, then one rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from haiku_edge.runtime.atomic import exists_error, output_error, replace_folder, sync_directory
from haiku_edge.runtime.bundle import (
    DIGEST_NAME,
    MANIFEST_NAME,
    Description,
    Manifest,
    open_bundle,
    parse_manifest,
)
from haiku_edge.runtime.bundle.manifest import SCHEMA_VERSION
from haiku_edge.runtime.errors import OutputExistsError

Content = bytes | Path
"""A file's bytes, or a finished file of one's own that goes into the bundle: it is moved, not copied."""

_CHUNK = 1 << 22


def write_bundle(directory: Path, description: Description, contents: Mapping[str, Content]) -> Manifest:
    """Write a bundle, verify it as a user would, and put it in place.

    An older bundle in that place is replaced once the new one is whole; anything else there is left alone.

    Args:
        directory: The bundle's folder; its parent is made where it is missing.
        description: The manifest without its table of files; a bundle is always written in the newest schema.
        contents: Relative POSIX path → every file but `bundle.json` and `bundle.sha256`: its bytes, or the path of a
            temporary file, which is gone afterwards. Large files are best made on the bundle's own disk.

    Returns:
        The manifest as written.

    Raises:
        BundleSchemaError: Manifest and files do not fit each other.
        BundleLinkError: A path would leave the bundle.
        OutputExistsError: Something that is no bundle is in that place.
        DiskFullError, OutputNotWritableError: It can't be written.
        BundleAlteredError: What was written reads back as something else.
    """
    try:
        stated = {**description.model_dump(mode="json"), "schema_version": SCHEMA_VERSION}
        document = {**stated, "files": _table_of_files(contents)}
    except OSError as error:
        raise output_error(error, directory) from error
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    manifest = parse_manifest(data, str(directory))
    check_replaceable(directory, force=True)
    try:
        _write_beside(directory, contents, data)
    except OSError as error:
        raise output_error(error, directory) from error
    return manifest


def _write_beside(directory: Path, contents: Mapping[str, Content], manifest: bytes) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.", suffix=".part"))
    try:
        # mkdtemp keeps others out; a bundle is for every user of the workstation.
        beside.chmod(0o755)
        _write_files(beside, contents)
        _write_file(beside / MANIFEST_NAME, manifest)
        _write_file(beside / DIGEST_NAME, f"{hashlib.sha256(manifest).hexdigest()}\n".encode())
        _flush_folders(beside)
        open_bundle(beside)
        replace_folder(beside, directory)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _table_of_files(contents: Mapping[str, Content]) -> dict[str, dict[str, str | int]]:
    return {name: _entry(content) for name, content in sorted(contents.items())}


def _entry(content: Content) -> dict[str, str | int]:
    """Digest and size; a file is hashed piece by piece."""
    if isinstance(content, bytes):
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    digest, size = hashlib.sha256(), 0
    with content.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            size += len(piece)
    return {"sha256": digest.hexdigest(), "size": size}


def check_replaceable(directory: Path, *, force: bool) -> None:
    """Refuse a place that holds anything but an older bundle; hours of work need not come first.

    Args:
        directory: Where a bundle will be written.
        force: Whether an older bundle there may be replaced.

    Raises:
        OutputExistsError: Something that is no bundle is there, or a bundle is and `force` is off.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise OutputExistsError(f"{directory} is there and is no folder. Name another place for the bundle.")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / MANIFEST_NAME).is_file():
        raise OutputExistsError(f"{directory} holds something that is no bundle. Name an empty or a new folder.")
    if (directory / MANIFEST_NAME).is_file() and not force:
        raise exists_error(directory, "already holds a bundle")


def _write_files(root: Path, contents: Mapping[str, Content]) -> None:
    for name, content in contents.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            _write_file(target, content)
        else:
            _move_file(content, target)


def _write_file(target: Path, content: bytes) -> None:
    with target.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _move_file(source: Path, target: Path) -> None:
    """Put a finished file in place; another disk's is copied there first."""
    shutil.move(source, target)
    target.chmod(0o644)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folders(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        sync_directory(folder)
