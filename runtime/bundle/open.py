"""Open a bundle, or refuse it whole.

Nothing of a bundle is parsed by a native library before every byte of it has been compared with the manifest's digests,
and the manifest with its own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..errors import BundleAlteredError, BundleError, BundleNotFoundError, UsageError
from ._directory import Listing, folder_descriptor, list_files, read_file
from .manifest import DIGEST_NAME, MANIFEST_NAME, RESERVED_NAMES, Manifest, parse_manifest
from .sections import FileEntry

MAX_MANIFEST_BYTES = 8 << 20
"""Largest manifest: 10,000 files at some 200 bytes each, four times over."""

KEPT_FILE_BYTES = 32 << 20
"""Files up to this size stay in memory as verified; larger ones are read, and hashed, again when asked for."""

_DIGEST_BYTES = 65
_GET_AGAIN = "Get the bundle again from where it came from, or export it again."


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle of which every byte was compared with its manifest.

    Attributes:
        manifest: What the bundle says about itself.
        root: Its folder. For messages; files are read with `read`.
        digest: SHA-256 of `bundle.json`, hexadecimal: names the bundle and, through it, every byte.
        embedded: True for the bundle that ships with the product.
    """

    manifest: Manifest
    root: Path
    digest: str
    embedded: bool
    _kept: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """The verified bytes of one file that the manifest lists.

        What is returned is what was hashed: either kept since the bundle was opened, or read and hashed again now.

        Raises:
            UsageError: The manifest lists no such file.
            BundleAlteredError: The file has changed since the bundle was opened.
            BundleLinkError: It has become a link.
        """
        if name in self._kept:
            return self._kept[name]
        if name not in self.manifest.files:
            raise UsageError(f"The bundle {self.manifest.name} holds no file {name!r}.")
        try:
            with folder_descriptor(self.root) as root:
                return _read_verified(root, name, self.manifest.files[name], hard_links=self.embedded)
        except OSError as error:
            raise BundleNotFoundError(f"The bundle {self.root} is no longer there ({error.strerror}).") from None


def open_bundle(path: Path | None = None) -> Bundle:
    """Verify a bundle and open it.

    Args:
        path: The bundle's folder; None for the one that ships with the product.

    Raises:
        BundleNotFoundError: No bundle is there.
        BundleAlteredError: A file is missing, extra or changed, be it by one byte.
        BundleLinkError: There is a link, or a path that leaves the bundle.
        BundleSchemaError: The manifest is malformed or of an unknown version.
        BundleError: The file system refuses to read.
    """
    embedded = path is None
    root = _embedded_root() if path is None else Path(path)
    try:
        with folder_descriptor(root) as descriptor:
            return _open(root, descriptor, embedded)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleNotFoundError(_nowhere(root, embedded)) from None
    except OSError as error:
        raise BundleError(f"The bundle {root} can't be read ({error.strerror}). Check its permissions.") from error


def _open(root: Path, descriptor: int, embedded: bool) -> Bundle:
    data, digest = _read_manifest(root, descriptor, embedded)
    manifest = parse_manifest(data, str(root))
    _compare_names(manifest, list_files(descriptor))
    kept = {}
    for name, entry in manifest.files.items():
        content = _read_verified(descriptor, name, entry, hard_links=embedded)
        if entry.size <= KEPT_FILE_BYTES:
            kept[name] = content
    return Bundle(manifest, root.resolve(), digest, embedded, kept)


def _read_manifest(root: Path, descriptor: int, embedded: bool) -> tuple[bytes, str]:
    """The manifest's bytes and their digest, once `bundle.sha256` is found to state just that."""
    try:
        data = read_file(descriptor, MANIFEST_NAME, limit=MAX_MANIFEST_BYTES, hard_links=embedded)
    except FileNotFoundError:
        raise BundleNotFoundError(_nowhere(root, embedded)) from None
    try:
        stated = read_file(descriptor, DIGEST_NAME, limit=_DIGEST_BYTES, hard_links=embedded)
    except FileNotFoundError:
        raise BundleAlteredError(f"{DIGEST_NAME} is missing from the bundle {root}. {_GET_AGAIN}") from None
    digest = hashlib.sha256(data).hexdigest()
    if not hmac.compare_digest(stated, digest.encode() + b"\n"):
        raise BundleAlteredError(
            f"{MANIFEST_NAME} or {DIGEST_NAME} of the bundle {root} was altered: the one does not have the digest "
            f"that the other states. {_GET_AGAIN}"
        )
    return data, digest


def _compare_names(manifest: Manifest, listing: Listing) -> None:
    """Refuse missing and extra files and folders."""
    listed = set(manifest.files)
    missing = sorted(listed - listing.files)
    if missing:
        raise BundleAlteredError(f"{_some(missing)} missing from the bundle {manifest.name}. {_GET_AGAIN}")
    folders = {str(parent) for name in listed for parent in Path(name).parents} - {"."}
    extra = sorted((listing.files - listed - RESERVED_NAMES) | (listing.folders - folders))
    if extra:
        raise BundleAlteredError(
            f"{_some(extra)} extra in the bundle {manifest.name}: its manifest does not list it. If you put it there, "
            f"take it out; otherwise: {_GET_AGAIN}"
        )


def _read_verified(root: int, name: str, entry: FileEntry, *, hard_links: bool) -> bytes:
    try:
        data = read_file(root, name, limit=entry.size, hard_links=hard_links)
    except FileNotFoundError:
        raise BundleAlteredError(f"{name} is missing from the bundle. {_GET_AGAIN}") from None
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BundleAlteredError(f"{name} of the bundle was altered: it is not the file that was shipped. {_GET_AGAIN}")
    return data


def _embedded_root() -> Path:
    return Path(os.fspath(files("haiku_edge.engines") / "embedded"))  # type: ignore[call-overload]


def _nowhere(root: Path, embedded: bool) -> str:
    if embedded:
        return "This installation lacks the embedded bundle. Install haiku-edge again, or name a bundle with --bundle."
    return f"There is no bundle in {root}: no folder with a {MANIFEST_NAME}. Check the path given with --bundle."


def _some(names: list[str]) -> str:
    """'a is', 'a and b are', or 'a, b, c and 4 more are', printable."""
    shown = [ascii(name)[1:-1][:200] for name in names[:3]]
    if len(names) > 3:
        return f"{', '.join(shown)} and {len(names) - 3} more are"
    return f"{' and '.join(shown)} {'is' if len(names) == 1 else 'are'}"
