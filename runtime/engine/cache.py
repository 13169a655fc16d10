"""Engines that were built on this machine: kept outside every bundle, and trusted only by their own user.

One folder an engine, named by its fingerprint: `entry.json`, which says what the engine was built from and what its
gate found, and the engine's files. An entry appears whole or not at all, one process builds it at a time, and what is
read was hashed. A plan is code that the GPU's library will run: so the folder is its user's alone, nothing is taken
from a folder that others may write to, and no link is followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..atomic import sync_directory
from ..errors import EngineCacheError
from .entry import ENTRY, CachedEngine, FileRecord, entry_json, read_entry
from .fingerprint import Fingerprint
from .pieces import digest_of_bytes, digest_of_file

DEFAULT_LIMIT = 24 << 30
"""Bytes that a cache may hold: some ten engines of full size."""

_PRIVATE = 0o700
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class EngineCache:
    """The engines of this machine and user.

    Args:
        root: The cache's folder; by default `$HAIKU_EDGE_CACHE`, else `haiku-edge` in the user's cache folder.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or _default_root()) / "engines"

    def entries(self) -> list[CachedEngine]:
        """Every engine, newest first; what is damaged is left out.

        Raises:
            EngineCacheError: The cache can't be read, or others may write to it.
        """
        with _as_cache_errors(self.root):
            if not self.root.is_dir():
                return []
            self._check_private()
            found = [entry for folder in self._folders() if (entry := read_entry(folder)) is not None]
        return sorted(found, key=lambda entry: entry.built, reverse=True)

    def unreadable(self) -> list[Path]:
        """Folders that `entries` leaves out: damaged, or of another release's format. `prune` takes them out.

        Raises:
            EngineCacheError: The cache can't be read.
        """
        with _as_cache_errors(self.root):
            return [folder for folder in self._folders() if read_entry(folder) is None]

    def find(self, fingerprint: Fingerprint) -> CachedEngine | None:
        """The engine of exactly that fingerprint.

        Raises:
            EngineCacheError: The cache can't be read, or others may write to it.
        """
        folder = self._folder(fingerprint)
        with _as_cache_errors(self.root):
            if folder not in self._folders():
                return None
            self._check_private()
            entry = read_entry(folder)
        return entry if entry is not None and entry.fingerprint == fingerprint else None

    def files(self, entry: CachedEngine) -> CachedFiles:
        """The files of an engine."""
        return CachedFiles(self, entry)

    def read(self, entry: CachedEngine, name: str) -> bytes:
        """The bytes of one of an engine's files, compared with its digest.

        Raises:
            EngineCacheError: The file is missing, altered or a link, or the disk can't read it.
        """
        with self._open(entry, name) as opened, _as_cache_errors(self.root), os.fdopen(os.dup(opened), "rb") as stream:
            content = stream.read()
        if digest_of_bytes(content) != entry.files[name].digest:
            raise self._altered(entry, name)
        return content

    def path(self, entry: CachedEngine, name: str) -> Path:
        """The path of one of an engine's files, compared with its digest: for a library that maps the file.

        Raises:
            EngineCacheError: The file is missing, altered or a link, or the disk can't read it.
        """
        with self._open(entry, name) as descriptor, _as_cache_errors(self.root):
            digest = digest_of_file(descriptor, entry.files[name].size)
        if digest != entry.files[name].digest:
            raise self._altered(entry, name)
        return self._folder(entry.fingerprint) / name

    @contextlib.contextmanager
    def building(self, fingerprint: Fingerprint) -> Iterator[Draft]:
        """Hold an engine's place, with an empty folder to build in; what is not committed is removed.

        Raises:
            EngineCacheError: Another process builds this engine, or the cache can't be written.
        """
        with _as_cache_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
            self._check_private()
            lock = os.open(self.root / f".{fingerprint.key()}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        with contextlib.ExitStack() as held:
            held.callback(os.close, lock)
            self._hold(lock)
            self._remove_leftovers(fingerprint)
            folder = self.root / f".{fingerprint.key()}-{secrets.token_hex(4)}"
            with _as_cache_errors(folder):
                folder.mkdir(mode=_PRIVATE)
            held.callback(shutil.rmtree, folder, ignore_errors=True)
            with _as_cache_errors(folder):
                yield Draft(folder, self._folder(fingerprint), fingerprint)

    def remove(self, fingerprint: Fingerprint) -> None:
        """Take an engine out, if it is there.

        Raises:
            EngineCacheError: The cache can't be written.
        """
        if self.root.is_dir():
            with _as_cache_errors(self.root):
                _replace(None, self._folder(fingerprint))

    def prune(self, *, limit: int = DEFAULT_LIMIT, keep: Callable[[CachedEngine], bool] = lambda _: True) -> list[Path]:
        """Take out what is damaged, what `keep` refuses, the oldest beyond `limit` bytes, and what killed builds left.

        Returns:
            The folders of engines that were removed.

        Raises:
            EngineCacheError: The cache can't be written, or others may write to it.
        """
        kept = {}
        held = 0
        for entry in self.entries():
            if keep(entry) and held < limit and held + entry.size <= limit:
                kept[entry.fingerprint.key()] = entry
                held += entry.size
        with _as_cache_errors(self.root):
            doomed = [path for path in self._folders() if path.name not in kept]
            for path in doomed:
                _replace(None, path)
            self._sweep()
        return doomed

    def _sweep(self) -> None:
        """Remove locks that nobody holds, and what was being built under them."""
        for path in self.root.glob(".*.lock"):
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    for leftover in self.root.glob(f"{path.stem}-*"):
                        shutil.rmtree(leftover, ignore_errors=True)
                    path.unlink()
            finally:
                os.close(lock)

    def _folders(self) -> list[Path]:
        """The folders of engines, whole or damaged, but not of those that are being built."""
        if not self.root.is_dir():
            return []
        with os.scandir(self.root) as found:
            names = [one.name for one in found if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")]
        return [self.root / name for name in sorted(names)]

    def _folder(self, fingerprint: Fingerprint) -> Path:
        return self.root / fingerprint.key()

    def _check_private(self) -> None:
        """Only the user may write where code is taken from."""
        if not _is_own(self.root.stat()):
            raise EngineCacheError(
                f"Others may write to the cache of engines ({self.root}), so nothing is taken from it: an engine is "
                "code. Make it yours alone (chmod 700), or name another folder in HAIKU_EDGE_CACHE."
            )

    @contextlib.contextmanager
    def _open(self, entry: CachedEngine, name: str) -> Iterator[int]:
        """A file of an engine, opened through no link and judged by what was opened."""
        with contextlib.ExitStack() as held:
            try:
                folder = os.open(self._folder(entry.fingerprint), _FOLDER)
                held.callback(os.close, folder)
                descriptor = os.open(name, _FILE, dir_fd=folder)
                held.callback(os.close, descriptor)
            except OSError:
                raise self._altered(entry, name) from None
            status = os.fstat(descriptor)
            alone = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
            if not (alone and _is_own(os.fstat(folder)) and status.st_size == entry.files[name].size):
                raise self._altered(entry, name)
            yield descriptor

    def _altered(self, entry: CachedEngine, name: str) -> EngineCacheError:
        return EngineCacheError(
            f"The cached engine of {entry.title} ({entry.fingerprint.engine}, {entry.fingerprint.precision}) is not as "
            f"it was built: {name} is missing or altered. It was not opened. Run `haiku-edge engines rebuild`."
        )

    def _hold(self, lock: int) -> None:
        """Take the lock, which the kernel gives back when the process ends, however it ends."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = os.fstat(lock).st_nlink == 0
        except OSError:
            taken = True
        if taken:
            raise EngineCacheError("Another process is building this engine. Wait for it: what it builds serves both.")

    def _remove_leftovers(self, fingerprint: Fingerprint) -> None:
        """What a killed build of the same engine left; its place is ours now."""
        for leftover in self.root.glob(f".{fingerprint.key()}-*"):
            shutil.rmtree(leftover, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class CachedFiles:
    """The files of an engine in the cache, compared with their digests as they are asked for."""

    _cache: EngineCache
    _entry: CachedEngine

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._entry.files)

    def read(self, name: str) -> bytes:
        """The bytes of one; see `EngineCache.read`."""
        return self._cache.read(self._entry, name)

    def path(self, name: str) -> Path:
        """Where one lies; see `EngineCache.path`."""
        return self._cache.path(self._entry, name)


@dataclass(frozen=True, slots=True)
class Draft:
    """An engine on its way into the cache.

    Attributes:
        folder: Empty folder, its user's alone, to write the engine's files into.
    """

    folder: Path
    _place: Path
    _fingerprint: Fingerprint

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files so far."""
        return tuple(path.name for path in sorted(self.folder.iterdir()))

    def read(self, name: str) -> bytes:
        """The bytes of one."""
        return self.path(name).read_bytes()

    def path(self, name: str) -> Path:
        """Where one lies."""
        return self.folder / name

    def clear(self) -> None:
        """Take the files out again."""
        for path in self.folder.iterdir():
            path.unlink()

    def commit(self, entry: CachedEngine) -> CachedEngine:
        """Make what lies in `folder` the engine; an older one in its place goes.

        Args:
            entry: What to say about it; its files are filled in.

        Raises:
            EngineCacheError: The cache can't be written.
            ValueError: The entry has another fingerprint.
        """
        if entry.fingerprint != self._fingerprint:
            raise ValueError("the engine is not the one whose place is held")
        with _as_cache_errors(self.folder):
            whole = replace(entry, files={path.name: _record(path) for path in sorted(self.folder.iterdir())})
            _write_flushed(self.folder / ENTRY, entry_json(whole))
            _replace(self.folder, self._place)
        return whole


def _default_root() -> Path:
    named = os.environ.get("HAIKU_EDGE_CACHE")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haiku-edge"
    except RuntimeError:
        raise EngineCacheError(
            "This user has no home folder for a cache of engines. Name one in HAIKU_EDGE_CACHE."
        ) from None


def _is_own(status: os.stat_result) -> bool:
    """Whether a folder is its user's, and nobody else may write to it."""
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _record(path: Path) -> FileRecord:
    """Digest and size of a file, which is flushed to the disk and made its user's alone."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        digest = digest_of_file(stream.fileno(), size)
        os.fsync(stream.fileno())
    path.chmod(0o600)
    return FileRecord(digest, size)


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _replace(folder: Path | None, place: Path) -> None:
    """Put a folder in a place, or nothing; what was there is moved aside first, so that no reader sees a mixture."""
    aside = place.with_name(f".{place.name}-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        place.rename(aside)
    if folder is not None:
        folder.rename(place)
    sync_directory(place.parent)
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _as_cache_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineCacheError(
            f"The cache of engines can't be used ({path}: {error.strerror or error}). Free some space, mend its "
            "permissions, or name another folder in HAIKU_EDGE_CACHE; predictions run without it."
        ) from error
