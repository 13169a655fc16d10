"""What the cache of engines promises: whole or not there, this machine's or refused, its user's alone."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from haiku_edge.runtime.engine.cache import EngineCache
from haiku_edge.runtime.engine.entry import ENTRY, CachedEngine, GateRecord
from haiku_edge.runtime.engine.fingerprint import Fingerprint
from haiku_edge.runtime.errors import EngineCacheError

GATE = GateRecord(True, True, "float", 1.0, 1.0, 8, None, None, "least cosine 1.000000")
PRINT = Fingerprint(
    "ab" * 32,
    "tensorrt",
    "fp16",
    "batch 1 to 64",
    "TensorRT 11.4",
    "RTX 4090",
    "8.9",
    "580.65",
    "Linux",
    "haiku-edge 1",
    "cd" * 32,
)


def entry(fingerprint: Fingerprint = PRINT, built: str = "2026-01-02T03:04:05+00:00") -> CachedEngine:
    return CachedEngine(fingerprint, "embedded 0.1.0, he", built, 12.5, GATE, 100.0, 64)


def keep(
    cache: EngineCache, fingerprint: Fingerprint = PRINT, content: bytes = b"plan", built: str = "2026-01-02"
) -> CachedEngine:
    with cache.building(fingerprint) as draft:
        (draft.folder / "engine.plan").write_bytes(content)
        return draft.commit(entry(fingerprint, built))


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path)


def test_what_is_kept_comes_back_as_it_was(cache: EngineCache) -> None:
    kept = keep(cache)
    assert cache.find(PRINT) == kept
    assert cache.entries() == [kept]
    assert cache.read(kept, "engine.plan") == b"plan"
    assert cache.path(kept, "engine.plan").read_bytes() == b"plan"
    assert kept.size == 4


@pytest.mark.parametrize("name", list(Fingerprint.__annotations__))
def test_an_engine_of_any_other_fingerprint_is_never_found(cache: EngineCache, name: str) -> None:
    keep(cache)
    other = replace(PRINT, **{name: "another"})
    assert cache.find(other) is None
    assert len(other.differences(PRINT)) == 1


def test_a_folder_is_made_for_its_user_alone(cache: EngineCache) -> None:
    kept = keep(cache)
    assert cache.root.stat().st_mode & 0o077 == 0
    assert cache.path(kept, "engine.plan").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", [b"plaN", b"pla", b"plan and more", None])
def test_an_altered_file_is_refused_before_anybody_reads_it(cache: EngineCache, damage: bytes | None) -> None:
    kept = keep(cache)
    path = cache.root / PRINT.key() / "engine.plan"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    for ask in (cache.read, cache.path):
        with pytest.raises(EngineCacheError, match="engines rebuild"):
            ask(kept, "engine.plan")


def test_a_disk_that_cant_read_is_one_clear_error(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    kept = keep(cache)
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(EngineCacheError, match="Input/output error"):
        cache.path(kept, "engine.plan")


def test_a_link_in_place_of_a_file_is_refused_also_with_the_right_content(cache: EngineCache, tmp_path: Path) -> None:
    kept = keep(cache)
    path = cache.root / PRINT.key() / "engine.plan"
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(b"plan")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineCacheError):
        cache.read(kept, "engine.plan")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": 1}', "[" * 100_000, '{"format": 2, "fingerprint": {}, "files": {}}'],
)
def test_a_damaged_entry_is_no_entry_and_pruning_takes_it_out(cache: EngineCache, text: str) -> None:
    keep(cache)
    (cache.root / PRINT.key() / ENTRY).write_text(text)
    assert cache.find(PRINT) is None
    assert cache.entries() == []
    assert [path.name for path in cache.unreadable()] == [PRINT.key()]
    assert [path.name for path in cache.prune()] == [PRINT.key()]
    assert not (cache.root / PRINT.key()).exists()
    assert cache.unreadable() == []


def test_an_engine_of_an_older_format_is_left_out_and_its_place_can_be_built_in(cache: EngineCache) -> None:
    keep(cache)
    path = cache.root / PRINT.key() / ENTRY
    document = json.loads(path.read_text())
    document["format"] = 1
    document["files"] = {"engine.plan": {"sha256": hashlib.sha256(b"plan").hexdigest(), "size": 4}}
    del document["note"]
    path.write_text(json.dumps(document))
    assert (cache.find(PRINT), cache.entries()) == (None, [])
    assert [path.name for path in cache.unreadable()] == [PRINT.key()]
    kept = keep(cache, content=b"plan anew")
    assert cache.read(kept, "engine.plan") == b"plan anew"
    assert cache.unreadable() == []


def test_an_entry_may_not_name_a_file_outside_itself(cache: EngineCache) -> None:
    keep(cache)
    path = cache.root / PRINT.key() / ENTRY
    document = json.loads(path.read_text())
    document["files"] = {"../../secret": {"digest": "0" * 64, "size": 1}}
    path.write_text(json.dumps(document))
    assert cache.find(PRINT) is None


def test_an_entry_moved_to_another_fingerprints_place_is_not_taken(cache: EngineCache) -> None:
    keep(cache)
    other = replace(PRINT, driver="590.10")
    (cache.root / PRINT.key()).rename(cache.root / other.key())
    assert cache.find(other) is None


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_nothing_is_taken_from_a_cache_that_others_may_write_to(cache: EngineCache, mode: int) -> None:
    keep(cache)
    cache.root.chmod(mode)
    with pytest.raises(EngineCacheError, match="Others may write"):
        cache.find(PRINT)
    with pytest.raises(EngineCacheError, match="Others may write"):
        cache.entries()


def test_a_build_that_fails_leaves_the_older_engine_and_no_leftovers(cache: EngineCache) -> None:
    kept = keep(cache)
    with pytest.raises(RuntimeError), cache.building(PRINT) as draft:
        (draft.folder / "engine.plan").write_bytes(b"half")
        raise RuntimeError("the builder failed")
    assert cache.find(PRINT) == kept
    assert not [path for path in cache.root.iterdir() if path.is_dir() and path.name.startswith(".")]


def test_a_new_engine_takes_the_older_ones_place(cache: EngineCache) -> None:
    keep(cache)
    kept = keep(cache, content=b"new plan")
    assert cache.entries() == [kept]
    assert cache.read(kept, "engine.plan") == b"new plan"


def test_two_processes_never_build_the_same_engine(cache: EngineCache) -> None:
    with (
        cache.building(PRINT),
        pytest.raises(EngineCacheError, match="Another process"),
        EngineCache(cache.root.parent).building(PRINT),
    ):
        pass
    with cache.building(PRINT), cache.building(replace(PRINT, precision="bf16")):
        pass


def _build_for_ever(root: Path, ready: str) -> None:
    with EngineCache(root).building(PRINT) as draft:
        (draft.folder / "engine.plan").write_bytes(b"half a plan")
        Path(ready).touch()
        signal.pause()


def test_a_killed_build_is_never_loaded_and_gives_its_place_back(cache: EngineCache, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = multiprocessing.get_context("spawn").Process(target=_build_for_ever, args=(tmp_path, str(ready)))
    child.start()
    while not ready.exists():
        assert child.is_alive()
        child.join(0.02)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    assert cache.entries() == []
    kept = keep(cache)
    assert cache.read(kept, "engine.plan") == b"plan"
    assert [path.name for path in cache.root.iterdir() if path.is_dir()] == [PRINT.key()]


@pytest.fixture
def read_only(cache: EngineCache) -> Iterator[EngineCache]:
    keep(cache)
    cache.root.chmod(0o500)
    yield cache
    cache.root.chmod(0o700)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_read_and_not_written(read_only: EngineCache) -> None:
    assert read_only.find(PRINT) is not None
    with (
        pytest.raises(EngineCacheError, match="can't be written"),
        read_only.building(replace(PRINT, precision="bf16")),
    ):
        pass


def test_a_disk_that_fills_while_building_is_one_clear_error_and_leaves_nothing(cache: EngineCache) -> None:
    with pytest.raises(EngineCacheError, match="Free some space"), cache.building(PRINT) as draft:
        (draft.folder / "engine.plan").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert cache.entries() == []
    assert not [path for path in cache.root.iterdir() if path.is_dir()]


def test_a_place_that_can_be_no_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineCacheError, match="HAIKU_EDGE_CACHE"), EngineCache(tmp_path / "file").building(PRINT):
        pass


def test_pruning_keeps_the_newest_below_the_limit_and_what_is_asked_for(cache: EngineCache) -> None:
    prints = [replace(PRINT, precision=f"p{i}") for i in range(4)]
    for i, one in enumerate(prints):
        keep(cache, one, b"x" * 100, f"2026-01-0{i + 1}")
    cache.prune(limit=250)
    assert [one.fingerprint.precision for one in cache.entries()] == ["p3", "p2"]
    cache.prune(keep=lambda one: one.fingerprint.precision != "p3")
    assert [one.fingerprint.precision for one in cache.entries()] == ["p2"]
    cache.prune(limit=0)
    assert cache.entries() == []


def test_the_cache_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAIKU_EDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert EngineCache().root == tmp_path / "xdg" / "haiku-edge" / "engines"
    monkeypatch.setenv("HAIKU_EDGE_CACHE", str(tmp_path / "own"))
    assert EngineCache().root == tmp_path / "own" / "engines"
