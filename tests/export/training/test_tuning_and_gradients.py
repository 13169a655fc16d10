"""What is trained is what the paper trains, and a batch in parts gives the gradients of the whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from haiku_edge.export.model import HeConfig, MifConfig, TextConfig, Towers, TowersConfig, build_towers
from haiku_edge.export.training import PUBLISHED_TUNING, ContrastiveLoss, LossSettings, Rates, Tuning
from haiku_edge.export.training.batch import Batch
from haiku_edge.export.training.gradients import backward
from haiku_edge.export.training.tuning import freeze, parameter_groups, set_training
from haiku_edge.runtime.errors import UsageError

CONFIG = TowersConfig(
    dimension=8,
    he=HeConfig(tile=32, side=32, stem=(), patch=16, width=16, hidden=32, heads=2, layers=12),
    mif=MifConfig(patch=32, pool=1, token=16, markers=3, marker_width=4, width=16, hidden=32, heads=2, blocks="hv"),
    text=TextConfig(vocabulary=30, length=12, positions=12, width=16, hidden=32, heads=2, layers=11),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _batch(count: int = 10) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        he=torch.rand((count, 3, 32, 32), generator=generator) * 255,
        regions=torch.arange(count) // 2,
        mif=torch.randn((count, 3, 32, 32), generator=generator),
        markers=torch.arange(1, 4).expand(count, 3),
        input_ids=torch.randint(0, 30, (count, 9), generator=generator),
        attention_mask=torch.ones((count, 9), dtype=torch.int64),
    )


def _tuned(towers: Towers) -> set[str]:
    return {
        f"{tower}.{name}"
        for tower, module in towers.modules().items()
        for name, own in module.named_parameters()
        if own.requires_grad
    }


def test_published_tuning_is_the_last_two_layers_the_vision_head_and_the_projections() -> None:
    towers = build_towers(CONFIG, 0)
    freeze(towers, PUBLISHED_TUNING)
    parts = {".".join(name.split(".")[:4] if ".layers." in name else name.split(".")[:3]) for name in _tuned(towers)}
    assert {name for name in parts if ".layers." in name} == {
        "he.encoder.layers.10",
        "he.encoder.layers.11",
        "text.encoder.layers.9",
        "text.encoder.layers.10",
    }
    assert "he.encoder.vision_head" in parts
    assert {name for name in parts if name.startswith("mif.")} == {"mif.head.first", "mif.head.second", "mif.head.norm"}


def test_each_part_has_its_published_rate_and_each_weight_stands_in_one_group() -> None:
    towers = build_towers(CONFIG, 0)
    freeze(towers, Tuning(he_layers=2, text_layers=2, mif=True))
    groups = parameter_groups(towers, Rates(), 0.01)
    rate_of = {id(own): group["peak"] for group in groups for own in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rate_of) == len(_tuned(towers))
    rates = {"he.encoder": 1e-5, "mif.encoder": 1e-5, "text.encoder": 5e-6}
    for tower, module in towers.modules().items():
        for name, own in module.named_parameters():
            if own.requires_grad:
                want = 1e-4 if name.startswith("head.") else rates[f"{tower}.encoder"]
                assert rate_of[id(own)] == want
    undecayed = [own for group in groups if group["weight_decay"] == 0.0 for own in group["params"]]
    assert any(own is towers.mif.encoder.marker_table.vectors for own in undecayed)
    assert all(own.ndim < 2 for own in undecayed if own is not towers.mif.encoder.marker_table.vectors)


def test_what_is_frozen_gets_no_gradient_and_what_is_tuned_does() -> None:
    towers, loss = build_towers(CONFIG, 0), ContrastiveLoss(LossSettings())
    freeze(towers, PUBLISHED_TUNING)
    set_training(towers)
    backward(towers, loss, _batch(), most=4)
    for module in towers.modules().values():
        for own in module.parameters():
            assert (own.grad is not None) == own.requires_grad


@pytest.mark.parametrize("most", [3, 5])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(most: int) -> None:
    found = []
    for size in (10, most):
        towers, loss = build_towers(CONFIG, 0), ContrastiveLoss(LossSettings(region_weight=0.5))
        set_training(towers)
        value = backward(towers, loss, _batch(), size)
        found.append((value, [own.grad for own in towers.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for whole, parts in zip(found[0][1], found[1][1], strict=True):
        if whole is None or parts is None:
            assert whole is parts
        else:
            # The bias before a BatchNorm has no gradient at all; what is left there is rounding.
            torch.testing.assert_close(parts, whole, atol=3e-5, rtol=1e-3)


def test_a_stem_that_normalises_over_the_batch_is_never_cut() -> None:
    stem = HeConfig(tile=32, side=32, stem=(4, 8), patch=16, width=16, hidden=32, heads=2, layers=1)
    towers = build_towers(TowersConfig(8, stem, CONFIG.mif, CONFIG.text), 0)
    set_training(towers)
    with pytest.raises(UsageError, match="--at-once"):
        backward(towers, ContrastiveLoss(LossSettings()), _batch(), most=4)


def test_a_frozen_stem_keeps_its_running_statistics() -> None:
    stem = HeConfig(tile=32, side=32, stem=(4, 8), patch=16, width=16, hidden=32, heads=2, layers=1)
    towers = build_towers(TowersConfig(8, stem, CONFIG.mif, CONFIG.text), 0)
    freeze(towers, Tuning(he_layers=1, text_layers=1, mif=False))
    before = {name: own.clone() for name, own in towers.he.encoder.stem.state_dict().items()}
    set_training(towers)
    backward(towers, ContrastiveLoss(LossSettings()), _batch(), most=10)
    for name, own in towers.he.encoder.stem.state_dict().items():
        assert torch.equal(own, before[name])
