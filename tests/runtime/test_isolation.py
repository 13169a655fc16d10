"""A crash in a native library leaves somebody to say so."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from haiku_edge.runtime.errors import NativeCrashError
from haiku_edge.runtime.isolation import reading_slide, run_in_child


def _module(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> str:
    (folder / "victim.py").write_text(textwrap.dedent(code))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "victim"


def test_a_segmentation_fault_becomes_a_message_that_names_the_slide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _module(tmp_path, monkeypatch, "import ctypes; ctypes.string_at(0)")
    with pytest.raises(NativeCrashError, match=r"SIGSEGV.*bad\.svs"):
        run_in_child(module, [], reading_slide("bad.svs"))


def test_the_exit_code_of_the_child_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(tmp_path, monkeypatch, "import sys; sys.exit(int(sys.argv[1]))")
    assert run_in_child(module, ["17"], reading_slide("slide.svs")) == 17


def test_a_killed_child_is_told_from_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(tmp_path, monkeypatch, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(NativeCrashError, match="memory"):
        run_in_child(module, [], reading_slide("slide.svs"))


def test_stopping_the_parent_stops_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "alive"
    module = _module(
        tmp_path, monkeypatch, f"import time, pathlib; pathlib.Path({str(mark)!r}).touch(); time.sleep(60)"
    )
    code = f"from haiku_edge.runtime.isolation import reading_slide, run_in_child as r; r({module!r}, [], 'slide.svs')"
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not mark.exists():
        assert parent.poll() is None
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=20)
    assert "was stopped" in said


def _kernel_gives_huge_pages_on_request() -> bool:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return platform.libc_ver()[0] == "glibc" and setting.exists() and "[madvise]" in setting.read_text()


@pytest.mark.skipif(not _kernel_gives_huge_pages_on_request(), reason="another C library, or another kernel setting")
@pytest.mark.parametrize(("own", "expected"), [(None, 17), ("glibc.malloc.hugetlb=0", 18)])
def test_large_allocations_of_the_child_may_lie_in_huge_pages_unless_its_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, expected: int
) -> None:
    code = """
        import pathlib, re, sys
        content = bytes(64 << 20)
        mapped = pathlib.Path("/proc/self/smaps").read_text().split("VmFlags:")
        sizes = [int(re.search(r"Size: +([0-9]+) kB", part)[1]) for part in mapped[:-1]]
        flags = [part.splitlines()[0].split() for part in mapped[1:]]
        sys.exit(17 if any(size >= 64 << 10 and "hg" in own for size, own in zip(sizes, flags)) else 18)
    """
    module = _module(tmp_path, monkeypatch, code)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if own:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    assert run_in_child(module, [], reading_slide("slide.svs")) == expected
