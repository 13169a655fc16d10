"""The masked autoencoder: nothing masked is seen, the error falls, and the mIF tower takes the encoder over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from haiku_edge.export.dataset import open_dataset
from haiku_edge.export.model import MifConfig, read_towers
from haiku_edge.export.training import mif_stage
from haiku_edge.export.training.haiku_stage import HaikuOptions, train_haiku
from haiku_edge.export.training.loop import STATE_FILE
from haiku_edge.export.training.masked import MaskedAutoencoder, Masking, draw_mask
from haiku_edge.export.training.masked_source import MaskedDraw, MaskedSource
from haiku_edge.export.training.mif_file import WEIGHTS_FILE, read_mif_encoder
from haiku_edge.export.training.mif_stage import MifOptions, train_mif
from haiku_edge.export.training.panel import filled_channels
from haiku_edge.runtime.errors import CheckpointIncompleteError, CohortError

from .paired_patches import MARKERS, write

CONFIG = MifConfig(pool=8, token=8, markers=3, marker_width=8, width=16, hidden=32, heads=2, blocks="hv")
OPTIONS = MifOptions(epochs=6, batch=8, at_once=4, threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "pairs")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mif_stage, "MifConfig", lambda: CONFIG)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _model() -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(CONFIG).eval()


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    prepared = torch.randn((2, 3, 32, 32), generator=generator)
    markers = torch.tensor([[1, 2, 3], [2, 3, 0]])
    return prepared, markers, draw_mask(markers, 16, Masking(), generator)


@torch.no_grad()
def test_masked_pixels_leave_no_trace_in_what_the_encoder_and_the_decoder_say() -> None:
    model, (prepared, markers, masked) = _model(), _inputs()
    assert masked.any() and not masked.all()
    hidden = masked.reshape(2, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = torch.where(hidden, torch.randn_like(prepared) * 100, prepared)
    torch.testing.assert_close(
        model.encode(changed, markers, masked), model.encode(prepared, markers, masked), atol=0, rtol=0
    )
    seen = torch.where(hidden, prepared, prepared + 1)
    assert not torch.allclose(model.encode(seen, markers, masked), model.encode(prepared, markers, masked))


@torch.no_grad()
def test_padded_channels_count_neither_in_the_encoder_nor_in_the_error() -> None:
    model, (prepared, markers, masked) = _model(), _inputs()
    other = prepared.clone()
    other[1, 2] = 50.0
    torch.testing.assert_close(model(other, markers, masked), model(prepared, markers, masked))
    alone = model(prepared[1:, :2], markers[1:, :2], masked[1:, :2])
    torch.testing.assert_close(model(prepared[1:], markers[1:], masked[1:]), alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_error_is_the_mean_square_over_every_square_of_the_channels_that_are_there() -> None:
    model, (prepared, markers, masked) = _model(), _inputs()
    told = model.reconstruct(prepared, markers, masked).numpy()
    total, count = 0.0, 0
    for row in range(2):
        for channel in range(3):
            if markers[row, channel]:
                image = prepared[row, channel].numpy()
                for y in range(4):
                    for x in range(4):
                        square = image[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].reshape(-1)
                        total += float(((told[row, channel, 4 * y + x] - square) ** 2).sum())
                        count += square.size
    assert float(model(prepared, markers, masked)) == pytest.approx(total / count, rel=1e-5)


def test_each_channel_draws_its_own_share_within_the_published_bounds() -> None:
    masked = draw_mask(torch.ones((200, 5), dtype=torch.int64), 256, Masking(), torch.Generator().manual_seed(0))
    shares = masked.float().mean(dim=2).numpy()
    assert shares.min() >= 0.6 - 1 / 256 and shares.max() <= 1.0
    assert abs(shares.mean() - 0.8) < 0.01 and np.ptp(shares[0]) > 0.01


def test_empty_channels_are_left_out() -> None:
    mif = np.zeros((3, 100, 100), np.uint8)
    mif[0, :2] = 9  # 2 % filled: empty by the published rule
    mif[1, :3] = 9
    assert filled_channels(mif).tolist() == [1]


def test_channels_of_a_batch_are_a_random_part_of_the_panel(data: Path) -> None:
    dataset = open_dataset(data)
    rows = np.arange(len(dataset))
    source = MaskedSource(dataset, rows, rows[:1], CONFIG, MaskedDraw(8, 4, Masking(least_channels=0.3), 0))
    counts = {int((own > 0).sum()) for step in range(4) for part in source.batch(step) for own in part.markers}
    assert counts == {1, 2, 3}


def test_error_on_other_patients_falls_and_the_tower_takes_the_encoder_over(data: Path, tmp_path: Path) -> None:
    done = train_mif(data, tmp_path / "mif", replace(OPTIONS, epochs=30))
    assert done.best < 0.9 * done.first
    encoder = read_mif_encoder(tmp_path / "mif")
    assert encoder.markers == MARKERS and encoder.config == CONFIG
    options = HaikuOptions(mif=tmp_path / "mif", epochs=1, batch=8, threads=1)
    run = train_haiku(data, tmp_path / "haiku", options)
    tower = read_towers(run.towers).mif
    kept = torch.load(tmp_path / "mif" / WEIGHTS_FILE, weights_only=True)
    for name, own in tower.encoder.state_dict().items():
        assert torch.equal(own, kept[f"encoder.{name}"])


def test_a_stopped_stage_resumes_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=4)

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    train_mif(data, tmp_path / "straight", options)
    with pytest.raises(KeyboardInterrupt):
        train_mif(data, tmp_path / "stopped", options, stop)
    train_mif(data, tmp_path / "stopped", options, resume=True)
    first, second = (torch.load(tmp_path / run / STATE_FILE, weights_only=True) for run in ("straight", "stopped"))
    assert first["standing"] == second["standing"]
    assert all(torch.equal(own, second["model"][name]) for name, own in first["model"].items())


def test_one_patient_is_refused_and_a_folder_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="one patient"):
        train_mif(write(tmp_path / "one", patients=1), tmp_path / "run", OPTIONS)
    with pytest.raises(CheckpointIncompleteError, match="train mif"):
        read_mif_encoder(tmp_path)
