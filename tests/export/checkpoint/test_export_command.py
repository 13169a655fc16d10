"""`haiku-edge export haiku` as a user meets its refusals: one message, the exit code, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .made import write_small_checkpoint
from .test_reading import Trap

RUN = """
from pathlib import Path
import typer
from haiku_edge.cli.errors import reported

def command(checkpoint: Path, out: Path) -> None:
    with reported(False):
        from haiku_edge.cli.export import run_haiku
        run_haiku(checkpoint, out, None, "fp32", as_json=False)

typer.run(command)
"""


def spoil(folder: Path, how: str) -> None:
    state = folder / "haiku_state_dict.pt"
    if how == "cut short":
        state.write_bytes(state.read_bytes()[:-1000])
    elif how == "pickled code":
        torch.save({"x": Trap(folder / "sprung")}, state)


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("pickled code", 72, "no tensors"),
        pytest.param("cut short", 71, "cut short", marks=pytest.mark.slow),
        pytest.param("another size", 73, "tokenizer/", marks=pytest.mark.slow),
    ],
)
def test_a_refusal_is_one_message_and_its_exit_code(tmp_path: Path, how: str, code: int, said: str) -> None:
    folder = write_small_checkpoint(tmp_path / "haiku")
    if how != "another size":
        # Of the published vocabulary's size, so that the state is what is refused.
        pieces = (folder / "tokenizer" / "vocab.txt").read_text().splitlines()
        pieces += [f"more{number}" for number in range(30522 - len(pieces))]
        (folder / "tokenizer" / "vocab.txt").write_text("\n".join(pieces) + "\n")
        spoil(folder, how)
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), str(tmp_path / "bundle")], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr and "Error: " in ended.stderr and "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["haiku"]
    assert not (folder / "sprung").exists()
