"""The guide to training lets a newcomer make patches that the training takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from haiku_edge.export.dataset import open_dataset
from haiku_edge.export.synthetic import MARKERS

GUIDE = (Path(__file__).parents[2] / "docs/guides/train.md").read_text(encoding="utf-8")


def test_the_guide_simulates_patches_with_all_that_the_towers_learn_from(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    (tmp_path / "make.py").write_text(found[1].replace("train=40", "train=2"))
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path, check=True, timeout=600)
    dataset = open_dataset(tmp_path / "simulated")
    assert len(set(dataset.patients.tolist())) == 2
    for sample in dataset:
        assert sample.he is not None and sample.mif is not None and sample.caption and sample.facts
        assert set(sample.markers) <= set(MARKERS)
