"""`export spade`: what a bundle holds, what is refused, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from haiku_edge.cli.app import app
from haiku_edge.export.bundle import write_bundle
from haiku_edge.export.checkpoint import write_known
from haiku_edge.export.checkpoint.spade import read_spade, write_spade
from haiku_edge.export.model import ResidualHead
from haiku_edge.export.spade.embed import gene_heads, unread
from haiku_edge.export.spade.export import SpadeExportOptions, export_spade
from haiku_edge.export.spade.genes import choose_genes
from haiku_edge.export.spade.search import choose_search
from haiku_edge.export.spatial import log_normalise, open_spots
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Description, KnownPatients, open_bundle, read_known_patients
from haiku_edge.runtime.engine import open_tower
from haiku_edge.runtime.errors import (
    CheckpointLayoutError,
    CohortError,
    OutputExistsError,
    PanelError,
    PatchShapeError,
    UsageError,
)
from haiku_edge.runtime.inference.calibration import read_cases
from tests.spade_bundles import EMBEDDED, EXPERTS, WIDTH, encoder, export_small, small_checkpoint, small_spots


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spots, experts, and a bundle of them."""
    folder = tmp_path_factory.mktemp("export")
    export_small(folder, folder / "bundle")
    return folder


def test_the_atlas_is_the_spots_as_the_graph_embeds_them(made: Path) -> None:
    bundle, dataset = open_bundle(made / "bundle"), small_spots("atlas")
    spade = bundle.manifest.need_spade()
    atlas = open_atlas(bundle, spade.atlas)
    assert len(atlas.patches) == sum(section.spots for section in dataset.sections)
    assert set(atlas.patients) == {section.patient for section in dataset.sections} and atlas.measure == "gene"
    checkpoint = read_spade(made / "checkpoint")
    section = dataset.sections[0]
    spots = dataset.read(section.section)
    row = atlas.patches.tolist().index(f"{section.section}/{spots.spots[3]}")
    columns = [dataset.genes.index(gene) for gene in atlas.markers]
    assert np.allclose(atlas.expression[row], log_normalise(spots.counts, spots.library)[3][columns])
    from haiku_edge.export.spatial.features import section_features

    features = section_features(dataset, section.section, encoder(), None)
    embedding, weights = checkpoint.mixture().embed(features)
    if spade.keys == "expression":
        heads = gene_heads(checkpoint, dataset.genes)
        assert heads is not None
        embedding = heads(spots, weights)
    assert np.allclose(atlas.vectors[row], embedding[3] / np.linalg.norm(embedding[3]), atol=1e-4)


def test_calibration_is_of_other_patients(made: Path) -> None:
    bundle = open_bundle(made / "bundle")
    spade = bundle.manifest.need_spade()
    cases = read_cases(bundle, open_atlas(bundle, spade.atlas), spade.calibration)
    assert set(cases.patients) == {own.patient for own in small_spots("calibration").sections}
    assert cases.text is None and cases.he.shape[1] == WIDTH and len(spade.experts) == EXPERTS
    assert sum(expert.spots for expert in spade.experts) == spade.atlas.patch_count  # type: ignore[union-attr]


def test_whom_the_encoder_and_the_experts_know_goes_along(made: Path, tmp_path: Path) -> None:
    haiku = read_known_patients(open_bundle())
    assert set(read_known_patients(open_bundle(made / "bundle")).train) == set(haiku.train)
    patient = small_spots("calibration").sections[0].patient
    checkpoint = tmp_path / "checkpoint"
    write_spade(checkpoint, read_spade(made / "checkpoint"))
    write_known(checkpoint, KnownPatients.of_names([patient]))
    options = SpadeExportOptions(small_spots("atlas").path, small_spots("calibration").path)
    with pytest.raises(CohortError, match="learned from"):
        export_spade(checkpoint, EMBEDDED, tmp_path / "bundle", options)
    assert not (tmp_path / "bundle").exists() and not list(tmp_path.glob(".bundle*"))


def test_a_bundle_of_both_keeps_every_file_of_the_first(made: Path) -> None:
    export_small(made, made / "both", into=EMBEDDED)
    both, haiku = open_bundle(made / "both"), open_bundle()
    changed = {"training/patients.json", haiku.manifest.golden.file}
    assert {name for name in haiku.manifest.files if both.manifest.files[name] != haiku.manifest.files[name]} <= changed
    assert both.manifest.family == "haiku+spade" and both.manifest.he == haiku.manifest.he
    again = export_small(made, made / "again", into=made / "both", genes=5)
    spade = again.manifest.need_spade()
    assert spade.atlas is not None and len(spade.atlas.markers) == 5
    assert len([name for name in again.manifest.files if name.startswith("towers/spade")]) == 1


def test_another_encoders_experts_are_refused(made: Path, tmp_path: Path) -> None:
    checkpoint = replace(read_spade(made / "checkpoint"), encoder="0" * 64, files=())
    write_spade(tmp_path / "checkpoint", checkpoint)
    with pytest.raises(CheckpointLayoutError, match="another image encoder"):
        export_spade(tmp_path / "checkpoint", EMBEDDED, tmp_path / "bundle")


def test_half_storage_keeps_the_embedding(made: Path) -> None:
    export_small(made, made / "half", storage="fp16")
    tiles = np.random.default_rng(1).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
    outputs = []
    for name in ("bundle", "half"):
        bundle = open_bundle(made / name)
        outputs.append(open_tower(bundle, bundle.manifest.need_spade().tower, device="cpu", strict=True)(tiles=tiles))
    sizes = [(made / name / "towers/spade.onnx").stat().st_size for name in ("bundle", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert [open_bundle(made / name).manifest.need_spade().tower.storage for name in ("bundle", "half")] == [
        "fp32",
        "fp16",
    ]
    units = [output[:, :WIDTH] / np.linalg.norm(output[:, :WIDTH], axis=1, keepdims=True) for output in outputs]
    assert (units[0] * units[1]).sum(axis=1).min() > 0.999


def test_a_bundle_without_spots_embeds_and_says_so(made: Path, tmp_path: Path) -> None:
    exported = export_spade(made / "checkpoint", EMBEDDED, tmp_path / "bundle")
    spade = exported.manifest.need_spade()
    assert spade.atlas is None and spade.calibration is None and exported.manifest.synthetic
    with pytest.raises(OutputExistsError):
        export_spade(made / "checkpoint", EMBEDDED, tmp_path / "bundle")


def test_a_real_bundle_says_whether_its_experts_were_trained_here_or_released(made: Path, tmp_path: Path) -> None:
    found = replace(read_spade(made / "checkpoint"), about={"counts": "log"}, files=())
    write_spade(tmp_path / "own", found)
    (tmp_path / "released").mkdir()
    np.save(tmp_path / "released/centroids.npy", found.centroids)
    np.save(tmp_path / "released/reassigned_clusters.npy", found.expert_of)
    for number, (image, genes) in enumerate(zip(found.image_heads, found.spot_heads or (), strict=True)):
        parts = (("image_projection", image), ("spot_projection", genes))
        state = {f"{part}.{key}": value for part, head in parts for key, value in head.items()}
        torch.save({"model": state}, tmp_path / f"released/ep12_trloss0.4_valloss0.5_proto{number}.pt")
    said = []
    for name in ("own", "released"):
        manifest = export_spade(tmp_path / name, EMBEDDED, tmp_path / f"{name}-bundle").manifest
        assert not manifest.synthetic
        said.append(manifest.statement)
    assert said[0].startswith("Made from experts that `train spade` trained, and spots that their owner provided.")
    assert said[1].startswith("Made from a SPADE checkpoint and spots that its licensee provided.")


def test_the_command_says_once_for_what_the_bundle_is_and_its_size_in_megabytes(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    command = ["export", "spade", str(made / "checkpoint"), "--encoder", str(EMBEDDED), "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in ("bundle.json", "bundle.sha256")]
    size = sum(path.stat().st_size for path in files) / 1e6
    assert done.stdout.startswith(f"{out}: {size:.1f} MB, digest ")
    assert done.stdout.count("For research use only.") == 1 and done.stdout.count("Synthetic: ") == 1


def test_calibrating_patients_too_few_for_an_interval_are_remarked_on(made: Path) -> None:
    few = "which is too few for any interval of 90 %: 9 patients are needed."
    named = export_small(made, made / "named")
    assert any(remark.startswith("6 patients of simulated calibration calibrate, " + few) for remark in named.remarks)
    drawn = export_small(made, made / "drawn", calibration=None)
    assert any(remark.startswith("1 of 6 patients, drawn with seed 0, calibrates, " + few) for remark in drawn.remarks)


def test_the_most_variable_genes_are_taken(made: Path) -> None:
    dataset = small_spots("atlas")
    values = []
    for section in dataset.sections:
        spots = dataset.read(section.section)
        values.append(log_normalise(spots.counts, spots.library))
    variance = np.concatenate(values).astype(float).var(axis=0)
    wanted = {dataset.genes[place] for place in np.argsort(-variance)[:7]}
    assert set(choose_genes(dataset, 7)) == wanted
    assert choose_genes(dataset, dataset.genes[3:5]) == dataset.genes[3:5]
    with pytest.raises(PanelError, match=r"NOGENE.*`haiku-edge spots info --json` lists"):
        choose_genes(dataset, ("NOGENE",))


def test_genes_are_those_that_the_calibrating_spots_have_too(made: Path) -> None:
    dataset = small_spots("atlas")
    varied = choose_genes(dataset, 3)
    others = replace(dataset, genes=("OTHER", *(gene for gene in reversed(dataset.genes) if gene != varied[0])))
    chosen = choose_genes(dataset, 3, others)
    assert set(varied[1:]) < set(chosen) and varied[0] not in chosen
    assert choose_genes(dataset, 1000, others) == tuple(gene for gene in dataset.genes if gene != varied[0])
    with pytest.raises(PanelError, match="in both"):
        choose_genes(dataset, (varied[0],), others)
    with pytest.raises(PanelError, match="No gene is in both"):
        choose_genes(dataset, 3, replace(dataset, genes=("OTHER",)))


def test_simulated_experts_make_a_real_bundle_synthetic(made: Path, tmp_path: Path) -> None:
    host = open_bundle(EMBEDDED)
    stated = {name: getattr(host.manifest, name) for name in Description.model_fields}
    real = Description(**stated | {"synthetic": False, "statement": "Of real tissue."})
    write_bundle(tmp_path / "host", real, {name: host.read(name) for name in host.manifest.files})
    options = SpadeExportOptions(into=tmp_path / "host")
    joined = export_spade(made / "checkpoint", EMBEDDED, tmp_path / "both", options).manifest
    assert joined.synthetic and joined.statement.startswith("Synthetic")


def test_what_can_not_be_searched_is_refused(made: Path, tmp_path: Path) -> None:
    checkpoint = replace(read_spade(made / "checkpoint"), spot_heads=None, genes=None, files=())
    genes = small_spots("atlas").genes
    assert gene_heads(checkpoint, genes) is None
    with pytest.raises(PanelError, match="gene heads"):
        gene_heads(checkpoint, genes, wanted="expression")
    whole = read_spade(made / "checkpoint")
    assert whole.genes is not None and unread(whole, genes) is None and unread(checkpoint, genes) is None
    why = unread(whole, genes[:-2])
    assert why is not None and f"lacks 2 of the {len(whole.genes)} genes" in why
    assert gene_heads(whole, genes[:-2]) is None
    with pytest.raises(PanelError, match="--like"):
        gene_heads(whole, genes[:-2], wanted="expression")
    with pytest.raises(UsageError, match="--keys"):
        SpadeExportOptions(keys="both")
    with pytest.raises(UsageError, match="--calibration"):
        SpadeExportOptions(calibration=tmp_path)


def test_gene_heads_are_summed_by_the_routing(made: Path) -> None:
    """The heads one by one in PyTorch, on the log-normalised counts that the checkpoint asks for."""
    dataset, checkpoint = small_spots("atlas"), read_spade(made / "checkpoint")
    spots = dataset.read(dataset.sections[1].section)
    weights = np.random.default_rng(0).dirichlet(np.ones(EXPERTS), len(spots)).astype(np.float32)
    heads = gene_heads(checkpoint, dataset.genes)
    assert heads is not None and checkpoint.spot_heads is not None
    counts = torch.from_numpy(log_normalise(spots.counts, spots.library))
    total = torch.zeros(len(spots), WIDTH)
    for number, state in enumerate(checkpoint.spot_heads):
        head = ResidualHead(len(dataset.genes), WIDTH).eval()
        head.load_state_dict(dict(state))
        total += head(counts).detach() * torch.from_numpy(weights[:, [number]])
    assert np.allclose(heads(spots, weights), total.numpy(), atol=1e-5)


def test_keys_and_neighbours_are_chosen_without_the_own_patient(made: Path) -> None:
    """Expression is the same within a patient and unlike any other's, so finding oneself would look perfect."""
    from haiku_edge.export.evaluation.spade import SPADE
    from haiku_edge.export.spade.embed import embed_spots

    bundle = open_bundle(made / "bundle")
    spade = bundle.manifest.need_spade()
    engine = open_tower(bundle, spade.tower, device="cpu", strict=True)
    spots = embed_spots(engine, spade.dimension, small_spots("atlas"), small_spots("atlas").genes[:4])
    rng, cohort = np.random.default_rng(2), spots.cohort
    patients = np.unique(cohort.patients, return_inverse=True)[1]
    noise = rng.normal(size=(patients.max() + 1, 4)).astype(np.float32)
    planted = replace(
        cohort,
        expression=noise[patients],
        vectors={SPADE: (noise[patients] + 1e-3 * rng.normal(size=(len(cohort), 4))).astype(np.float32)},
    )
    assert max(choose_search(planted).scores["image"].values()) < 0.5


def test_patches_too_small_for_the_tower_are_refused(made: Path, tmp_path: Path) -> None:
    from haiku_edge.export.spade.embed import embed_spots
    from haiku_edge.export.spatial.from_simulator import simulate_spots
    from tests.spade_bundles import SPLIT

    small = simulate_spots("atlas", replace(SPLIT, atlas=1, size=224), 7, tmp_path).dataset
    bundle = open_bundle(made / "bundle")
    spade = bundle.manifest.need_spade()
    engine = open_tower(bundle, spade.tower, device="cpu", strict=True)
    with pytest.raises(PatchShapeError, match="--size 256"):
        embed_spots(engine, spade.dimension, small, small.genes[:2])


def test_the_checkpoint_comes_back(made: Path, tmp_path: Path) -> None:
    written = small_checkpoint(tmp_path / "again", open_spots(small_spots("atlas").path))
    read = read_spade(tmp_path / "again")
    assert np.array_equal(read.centroids, written.centroids) and read.genes == written.genes


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_fused_graph_builds_as_a_tensorrt_plan(made: Path, precision: str) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    from haiku_edge.export.engines.build_tensorrt import build_plan
    from haiku_edge.export.engines.regimes import section_ranges, tower_regimes
    from haiku_edge.export.engines.variants import to_half
    from haiku_edge.runtime.engine.model import read_model

    bundle = open_bundle(made / "bundle")
    section = bundle.manifest.need_spade().tower
    model = read_model(bundle, section)
    graph = model if precision == "fp32" else to_half(model, "fp16")
    assert build_plan(graph, "tensorrt_rtx", tower_regimes(model, section_ranges(section))).weights > 1 << 20
