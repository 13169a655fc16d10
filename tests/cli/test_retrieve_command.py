"""`haiku-edge retrieve`: from a tile, a patch or words to what the bundle holds nearest to them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
import tifffile
from PIL import Image

from haiku_edge.cli.retrieve import Asked, run
from haiku_edge.export.synthetic import MARKERS, render_region, simulate_cohort
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.errors import (
    BundleContentError,
    HaikuEdgeError,
    OutputExistsError,
    PanelError,
    PatchShapeError,
    UnreadableDatasetError,
    UsageError,
)
from haiku_edge.runtime.inference.calibration import read_cases
from haiku_edge.runtime.inference.look_up import look_up
from haiku_edge.runtime.inference.query import he_query, mif_query, notes_query, text_query
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from haiku_edge.runtime.report.document import schema_text
from haiku_edge.runtime.report.retrieval_schema import RetrievalResult
from tests.runtime.inference.bundles import rewrite

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "schema" / "retrieval.schema.json"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(None)


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One simulated patch of an unknown patient, as H&E in three formats and as mIF in two."""
    patient = simulate_cohort(5, seed=97)[4]
    region, folder = render_region(patient, 256, 256), tmp_path_factory.mktemp("patch")
    named = [MARKERS.index(marker) for marker in patient.panel]
    mif = np.asarray(region.mif, np.uint8)[named]
    files = {name: folder / f"{name}" for name in ("he.png", "he.tif", "he.npy", "mif.npy", "mif.ome.tif")}
    Image.fromarray(region.he).save(files["he.png"])
    Image.fromarray(region.he).save(files["he.tif"])
    np.save(files["he.npy"], region.he)
    np.save(files["mif.npy"], mif)
    described = {"axes": "CYX", "Channel": {"Name": list(patient.panel)}}
    tifffile.imwrite(files["mif.ome.tif"], mif, metadata=described, photometric="minisblack")
    return files | {"panel": ",".join(patient.panel)}  # type: ignore[dict-item]


def _json(capsys: pytest.CaptureFixture[str], asked: dict[str, object], to: str = "mif", **options: object) -> dict:
    base = dict.fromkeys(("he", "mif", "text", "clinical", "markers"))
    said = {"bundle": None, "top": 5, "excluded": (), "out": None, "device": "auto", "threads": 1, "as_json": True}
    run(Asked(**(base | asked)), to, **(said | options))  # type: ignore[arg-type]
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, json.loads(PUBLISHED.read_text()))
    return printed


def test_the_published_schema_is_current() -> None:
    """If not: write what `schema_text(RetrievalResult, "retrieval")` gives to the file."""
    assert PUBLISHED.read_text() == schema_text(RetrievalResult, "retrieval")


def test_a_tile_finds_what_an_exact_search_by_hand_finds(
    bundle: Bundle, patch: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = _json(capsys, {"he": patch["he.png"]})["found"]
    atlas = open_atlas(bundle)
    vector = he_query(bundle, patch["he.npy"]).vector.astype(np.float64)
    cosines = atlas.vectors.astype(np.float64) @ vector
    best = np.argsort(-cosines, kind="stable")[:5]
    assert [one["item"] for one in found] == atlas.patches[best].tolist()
    assert [one["similarity"] for one in found] == pytest.approx(cosines[best], abs=1e-5)
    assert [one["rank"] for one in found] == [1, 2, 3, 4, 5]
    first = found[0]["markers"]
    assert [abs(one["z"]) for one in first] == sorted((abs(one["z"]) for one in first), reverse=True)
    row = {one["marker"]: one for one in first}
    for m, marker in enumerate(atlas.markers):
        if np.isfinite(atlas.expression[best[0], m]):
            assert row[marker]["intensity"] == pytest.approx(atlas.expression[best[0], m], abs=1e-2)


def test_every_format_of_the_same_picture_is_the_same_query(bundle: Bundle, patch: dict[str, Path]) -> None:
    vectors = [he_query(bundle, patch[f"he.{kind}"]).vector for kind in ("png", "tif", "npy")]
    assert np.array_equal(vectors[0], vectors[1]) and np.array_equal(vectors[0], vectors[2])


def test_the_order_of_channels_changes_nothing(bundle: Bundle, patch: dict[str, Path], tmp_path: Path) -> None:
    names, pixels = tuple(str(patch["panel"]).split(",")), np.load(patch["mif.npy"])
    order = np.random.default_rng(0).permutation(len(names))
    np.save(tmp_path / "turned.npy", pixels[order])
    straight = mif_query(bundle, patch["mif.npy"], names)
    turned = mif_query(bundle, tmp_path / "turned.npy", tuple(names[i] for i in order))
    assert turned.vector == pytest.approx(straight.vector, abs=1e-5)
    assert mif_query(bundle, patch["mif.ome.tif"]).vector == pytest.approx(straight.vector, abs=1e-6)


def test_a_patch_finds_tissue_of_its_own_kind_first(
    bundle: Bundle, patch: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What it measured most of is what the nearest patches measured most of, more than by chance."""
    found = _json(capsys, {"mif": patch["mif.npy"], "markers": patch["panel"]}, top=20)["found"]
    atlas = open_atlas(bundle)
    own = dict(zip(str(patch["panel"]).split(","), np.load(patch["mif.npy"]).mean(axis=(1, 2)), strict=True))
    wanted = np.array([own.get(m, np.nan) for m in atlas.markers])
    z = (wanted - atlas.mean) / atlas.std
    rows = [atlas.patches.tolist().index(one["item"]) for one in found]
    near, all_of_them = np.nanmean(np.abs(atlas.z[rows] - z)), np.nanmean(np.abs(atlas.z - z))
    assert near < 0.7 * all_of_them


def test_notes_and_words_find_patches_and_are_not_repeated(
    bundle: Bundle, notes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = _json(capsys, {"clinical": notes})
    words = _json(capsys, {"text": "Lung adenocarcinoma of Jane Q. Testcase, MRN 8812345"})
    assert facts["query"]["modality"] == words["query"]["modality"] == "text"
    assert len(facts["found"]) == len(words["found"]) == 5
    assert not any(part in json.dumps(words) for part in ("adenocarcinoma", "Testcase", "8812345"))


def test_an_excluded_patient_is_not_found(
    bundle: Bundle, patch: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first = _json(capsys, {"he": patch["he.png"]})["found"][0]["patient"]
    again = _json(capsys, {"he": patch["he.png"]}, excluded=(first,), top=1000)
    assert first not in {one["patient"] for one in again["found"]}
    assert len(again["found"]) == int((open_atlas(bundle).patients != first).sum())


@pytest.mark.parametrize("to", ["he", "text"])
def test_tiles_and_notes_are_those_of_the_calibration_patients(
    bundle: Bundle, patch: dict[str, Path], capsys: pytest.CaptureFixture[str], to: str
) -> None:
    result = _json(capsys, {"mif": patch["mif.npy"], "markers": patch["panel"]}, to=to)
    cases = read_cases(bundle, open_atlas(bundle))
    vectors = cases.he if to == "he" else cases.text
    cosines = vectors @ mif_query(bundle, patch["mif.ome.tif"]).vector
    best = float(cosines.max())
    assert result["found"][0]["similarity"] == pytest.approx(best, abs=1e-5)
    assert result["found"][0]["patient"] == cases.patients[int(cosines.argmax())]
    assert "calibration patients" in result["gallery"]
    if to == "text":
        assert len({one["patient"] for one in result["found"]}) == 5


def test_the_page_shows_the_pictures_and_fetches_nothing(
    patch: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _json(capsys, {"mif": patch["mif.npy"], "markers": patch["panel"]}, out=tmp_path / "page")
    page = (tmp_path / "page" / "retrieval.html").read_text()
    written = RetrievalResult.model_validate_json((tmp_path / "page" / "retrieval.json").read_bytes())
    assert page.count("data:image/webp") == 6
    assert "http" not in page.replace("http-equiv", "")
    assert written.notice in page and written.bundle.statement in page
    assert all(one.item in page for one in written.found)
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["retrieval.html", "retrieval.json"]


def test_the_table_keeps_one_line_an_item_on_eighty_columns(
    patch: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for to, asked in (("mif", {"he": patch["he.png"]}), ("text", {"text": "Lung cancer"})):
        base = dict.fromkeys(("he", "mif", "text", "clinical", "markers"))
        said = {"bundle": None, "top": 12, "excluded": (), "out": None, "device": "auto", "threads": 1}
        run(Asked(**(base | asked)), to, **said, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.split()[0].isdigit() for line in lines if line.split()) == 12
        assert not any("…" in line for line in lines)


def test_other_names_of_the_channels_and_a_blank_one_are_the_same_query(
    bundle: Bundle, patch: dict[str, Path], tmp_path: Path
) -> None:
    others = {"CD3e": "CD3", "Ki67": "Ki-67", "PanCK": "Pan-Cytokeratin", "PDL1": "CD274", "DAPI": "Hoechst"}
    panel = str(patch["panel"]).split(",")
    renamed = tuple(others.get(name, name) for name in panel)
    assert len(set(renamed) - set(panel)) > 2
    pixels = np.load(patch["mif.npy"])
    np.save(tmp_path / "blank.npy", np.concatenate([np.full_like(pixels[:1], 99), pixels]))
    plain = mif_query(bundle, patch["mif.npy"], tuple(panel))
    other = mif_query(bundle, tmp_path / "blank.npy", ("Blank-1", *renamed))
    np.testing.assert_array_equal(plain.vector, other.vector)
    assert other.markers == plain.markers == tuple(panel) and plain.warnings == ()
    assert any("'CD3' is taken for CD3e" in line for line in other.warnings)
    assert "'Blank-1'" in other.warnings[-1] and not any("Ki-67" in line for line in other.warnings)


def test_an_older_page_is_replaced_only_when_asked(
    patch: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "page"
    _json(capsys, {"text": "Lung cancer"}, out=folder)
    (folder / "mine.txt").write_text("precious")
    before = (folder / "retrieval.json").read_bytes()
    with pytest.raises(OutputExistsError, match="--force"):
        _json(capsys, {"he": patch["he.png"]}, out=folder, bundle=tmp_path / "no bundle")
    assert (folder / "retrieval.json").read_bytes() == before
    _json(capsys, {"he": patch["he.png"]}, out=folder, force=True)
    assert json.loads((folder / "retrieval.json").read_bytes())["query"]["modality"] == "he"
    assert sorted(path.name for path in folder.iterdir()) == ["mine.txt", "retrieval.html", "retrieval.json"]


@pytest.mark.parametrize("with_page", [False, True])
def test_the_research_use_line_is_printed_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], with_page: bool
) -> None:
    base = dict.fromkeys(("he", "mif", "text", "clinical", "markers"))
    said = {"bundle": None, "top": 2, "excluded": (), "out": tmp_path if with_page else None, "device": "auto"}
    run(Asked(**(base | {"text": "Lung cancer"})), "mif", **said, threads=1, as_json=False)
    printed = capsys.readouterr()
    assert (printed.out + printed.err).casefold().count("for research use only") == 1
    assert printed.out.rstrip().endswith(RESEARCH_USE_ONLY) and "Synthetic" in printed.out


@pytest.mark.parametrize(
    ("asked", "options", "error"),
    [
        ({}, {}, UsageError),
        ({"text": "Lung", "he": "he.png"}, {}, UsageError),
        ({"text": "Lung", "markers": "DAPI"}, {}, UsageError),
        ({"text": "Lung"}, {"to": "sound"}, UsageError),
        ({"text": "Lung"}, {"top": 0}, UsageError),
        ({"text": "Lung"}, {"excluded": ("nobody",)}, UsageError),
        ({"he": "missing.png"}, {}, UnreadableDatasetError),
        ({"he": "small.png"}, {}, PatchShapeError),
        ({"he": "grey.png"}, {}, PatchShapeError),
        ({"he": "cut.png"}, {}, UnreadableDatasetError),
        ({"he": "notes.txt"}, {}, UnreadableDatasetError),
        ({"he": "pickled.npy"}, {}, UnreadableDatasetError),
        ({"he": "float.npy"}, {}, PatchShapeError),
        ({"mif": "mif.npy"}, {}, PanelError),
        ({"mif": "mif.npy", "markers": "DAPI"}, {}, PanelError),
        ({"mif": "three.npy", "markers": "DAPI,CD8,CD9999"}, {}, PanelError),
        ({"mif": "three.npy", "markers": "DAPI,CD8,DAPI"}, {}, PanelError),
        ({"mif": "three.npy", "markers": "DAPI,CD8,CD8a"}, {}, PanelError),
        ({"mif": "three.npy", "markers": "DAPI,CD8,Keratin"}, {}, PanelError),
        ({"mif": "three.npy", "markers": "Blank,AF1,empty"}, {}, PanelError),
        ({"mif": "deep.npy", "markers": "DAPI,CD8,CD4"}, {}, PatchShapeError),
        ({"mif": "last.npy", "markers": "DAPI,CD8,CD4"}, {}, PatchShapeError),
    ],
)
def test_what_cannot_be_used_is_refused(
    patch: dict[str, Path], tmp_path: Path, asked: dict, options: dict, error: type[HaikuEdgeError]
) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (128, 128, 3), np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(rng.integers(0, 255, (256, 256), np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "cut.png").write_bytes(patch["he.png"].read_bytes()[:5000])
    (tmp_path / "notes.txt").write_text("tissue")
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "float.npy", np.zeros((256, 256, 3), np.float32))
    np.save(tmp_path / "three.npy", np.zeros((3, 256, 256), np.uint8))
    np.save(tmp_path / "deep.npy", np.zeros((3, 256, 256), np.uint16))
    np.save(tmp_path / "last.npy", np.zeros((256, 256, 3), np.uint8))
    base = dict.fromkeys(("he", "mif", "text", "clinical", "markers"))
    files = {k: patch.get(v, tmp_path / v) if k in ("he", "mif") else v for k, v in asked.items()}
    said = {"bundle": None, "top": 5, "excluded": (), "device": "auto", "threads": 1, "as_json": True} | options
    to = said.pop("to", "mif")
    with pytest.raises(error) as refused:
        run(Asked(**(base | files)), to, out=tmp_path / "out", **said)
    assert str(tmp_path) not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_a_part_says_which(notes: Path, patch: dict[str, Path], tmp_path: Path) -> None:
    bare = open_bundle(rewrite(tmp_path / "bare", text=None, mif=None, calibration=None))
    for ask, said in (
        (lambda bundle: text_query(bundle, "Lung"), "text tower"),
        (lambda bundle: notes_query(bundle, notes), "text tower"),
        (lambda bundle: mif_query(bundle, patch["mif.ome.tif"]), "mIF tower"),
    ):
        with pytest.raises(BundleContentError, match=said):
            look_up(bare, ask, "mif")
    with pytest.raises(BundleContentError, match="calibration"):
        look_up(bare, lambda bundle: he_query(bundle, patch["he.png"]), "he")
    found = look_up(bare, lambda bundle: he_query(bundle, patch["he.png"]), "mif", top=3).result.found
    assert len(found) == 3


def test_a_calibration_table_without_sections_names_none(patch: dict[str, Path], tmp_path: Path) -> None:
    whole = open_bundle(None)
    name = whole.manifest.need_calibration().file
    table = pa.ipc.open_file(io.BytesIO(whole.read(name))).read_all()
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.drop_columns(["section"]).schema) as writer:
        writer.write_table(table.drop_columns(["section"]))
    bundle = open_bundle(rewrite(tmp_path / "other", {name: sink.getvalue()}))
    found = look_up(bundle, lambda opened: he_query(opened, patch["he.png"]), "he").result.found
    assert all(one.section is None for one in found)
