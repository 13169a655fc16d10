"""Open a bundle, or refuse it whole.

No file of a bundle is parsed by a native library before every byte of it has been compared with the manifest's digest,
and the manifest with its own. `open_bundle` returns once that is so for all files; inside a block of `opening_bundle`
the large ones are still being compared, and what is read was.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

from ..errors import BundleAlteredError, BundleError, BundleNotFoundError, UsageError
from ._directory import Listing, folder_descriptor, hash_file, list_files, read_file
from ._verification import Verification
from .manifest import DIGEST_NAME, MANIFEST_NAME, RESERVED_NAMES, Manifest, parse_manifest
from .sections import FileEntry

MAX_MANIFEST_BYTES = 8 << 20
"""Largest manifest: 10,000 files at some 200 bytes each, four times over."""

KEPT_FILE_BYTES = 32 << 20
"""Files up to this size stay in memory as verified; larger ones are read and hashed when asked for."""

SHIPPED: Final = {"spade": "embedded_spade"}
"""Names that stand for a bundle that ships with the product, beside the one that is taken without a name."""

_DIGEST_BYTES = 65
_GET_AGAIN = "Get the bundle again from where it came from, or export it again."


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle of which every byte was compared with its manifest, or is before the block ends that opens it.

    Attributes:
        manifest: What the bundle says about itself.
        root: Its folder. For messages; files are read with `read`.
        digest: SHA-256 of `bundle.json`, hexadecimal: names the bundle and, through it, every byte.
        embedded: True for a bundle that ships with the product.
    """

    manifest: Manifest
    root: Path
    digest: str
    embedded: bool
    _kept: Mapping[str, bytes] = field(repr=False)
    _large: Verification = field(repr=False, compare=False)

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
        return self._large.read(name, lambda: self._read_large(name))

    def _read_large(self, name: str) -> bytes:
        try:
            with folder_descriptor(self.root) as root:
                return _read_verified(root, name, self.manifest.files[name], hard_links=self.embedded)
        except OSError as error:
            raise BundleNotFoundError(f"The bundle {self.root} is no longer there ({error.strerror}).") from None


def open_bundle(path: Path | None = None) -> Bundle:
    """Verify a bundle and open it.

    Args:
        path: The bundle's folder; None for the one of Haiku that ships with the product, or a name of `SHIPPED`.

    Raises:
        BundleNotFoundError: No bundle is there.
        BundleAlteredError: A file is missing, extra or changed, be it by one byte.
        BundleLinkError: There is a link, or a path that leaves the bundle.
        BundleSchemaError: The manifest is malformed or of an unknown version.
        BundleError: The file system refuses to read.
    """
    with opening_bundle(path) as bundle:
        return bundle


@contextmanager
def opening_bundle(path: Path | None = None) -> Iterator[Bundle]:
    """Open a bundle whose large files are verified while the block goes on, for what has to start soon.

    What the block reads was verified. That all the rest was too is known only when the block has ended without an
    error, so nothing may be shown or written before.

    Args:
        path: As `open_bundle`.

    Raises:
        BundleError: As `open_bundle`, on entering or on leaving the block.
    """
    shipped = "embedded" if path is None else _shipped(Path(path))
    embedded = shipped is not None
    root = Path(path or ".") if shipped is None else _shipped_root(shipped)
    with ExitStack() as held:
        try:
            bundle = _open(root, held.enter_context(folder_descriptor(root)), embedded)
        except (FileNotFoundError, NotADirectoryError):
            raise BundleNotFoundError(_nowhere(root, embedded)) from None
        except OSError as error:
            raise BundleError(f"The bundle {root} can't be read ({error.strerror}). Check its permissions.") from error
        held.enter_context(bundle._large)
        yield bundle


def _open(root: Path, descriptor: int, embedded: bool) -> Bundle:
    data, digest = _read_manifest(root, descriptor, embedded)
    manifest = parse_manifest(data, str(root))
    _compare_names(manifest, list_files(descriptor))
    kept = {
        name: _read_verified(descriptor, name, entry, hard_links=embedded)
        for name, entry in manifest.files.items()
        if entry.size <= KEPT_FILE_BYTES
    }

    def check(name: str, given_up: Callable[[], bool]) -> bool:
        return _verify(descriptor, name, manifest.files[name], embedded, given_up)

    return Bundle(manifest, root.resolve(), digest, embedded, kept, Verification(check, _large_files(manifest)))


def _large_files(manifest: Manifest) -> list[str]:
    """Names of the files that are not kept, the largest first; those of the H&E tower, which most runs read, last."""
    towers = (manifest.he, None if manifest.spade is None else manifest.spade.tower)
    soon = {file for tower in towers if tower is not None for file in (tower.file, *tower.weights)}
    large = [name for name, entry in manifest.files.items() if entry.size > KEPT_FILE_BYTES]
    return sorted(large, key=lambda name: (name in soon, -manifest.files[name].size))


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
        raise _missing(name) from None
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise _altered(name)
    return data


def _verify(root: int, name: str, entry: FileEntry, hard_links: bool, given_up: Callable[[], bool]) -> bool:
    """Compare a file with its digest; False where it was given up."""
    try:
        found = hash_file(root, name, limit=entry.size, hard_links=hard_links, given_up=given_up)
    except FileNotFoundError:
        raise _missing(name) from None
    if found not in (None, (entry.size, entry.sha256)):
        raise _altered(name)
    return found is not None


def _missing(name: str) -> BundleAlteredError:
    return BundleAlteredError(f"{name} is missing from the bundle. {_GET_AGAIN}")


def _altered(name: str) -> BundleAlteredError:
    return BundleAlteredError(f"{name} of the bundle was altered: it is not the file that was shipped. {_GET_AGAIN}")


def _shipped(path: Path) -> str | None:
    """The folder of the bundle that ships under a name, where nothing else of that name is there."""
    name = SHIPPED.get(str(path))
    return None if name is None or path.is_symlink() or path.exists() else name


def _shipped_root(folder: str) -> Path:
    return Path(os.fspath(files("haiku_edge.engines") / folder))  # type: ignore[call-overload]


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
