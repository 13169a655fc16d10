"""The chapter on genes: what it shows, for whom, and that the map of experts lies where the tiles lie."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from haiku_edge.cli.predict import show
from haiku_edge.runtime.report import Result, write_outputs
from haiku_edge.runtime.report.cautions import cautions
from haiku_edge.runtime.report.experts import ExpertMap, expert_colours, expert_map
from haiku_edge.runtime.report.genes import mapped_genes
from haiku_edge.runtime.report.heatmap import OPACITY, TileMap

from . import sample, spatial_sample
from .test_html import Page


@pytest.fixture(scope="module")
def alone() -> sample.Sample:
    return spatial_sample.build()


@pytest.fixture(scope="module")
def many() -> sample.Sample:
    return spatial_sample.build(genes=70, experts=18, proteins=True)


@pytest.fixture(scope="module")
def folder(alone: sample.Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of genes alone, in a folder that held an older heatmap."""
    out = tmp_path_factory.mktemp("genes")
    (out / "heatmaps").mkdir()
    (out / "heatmaps" / "gene_GONE.png").write_bytes(b"older")
    write_outputs(out, alone.result, alone.tiles, alone.images)
    return out


@pytest.fixture(scope="module")
def folder_of_both(many: sample.Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("both")
    write_outputs(out, many.result, many.tiles, many.images)
    return out


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def text_of_both(folder_of_both: Path) -> str:
    return (folder_of_both / "report.html").read_text("utf-8")


def visible(text: str) -> str:
    """The words of a page without its style and script."""
    return " ".join(part for tags, part in Page(text).texts if not {"script", "style"} & set(tags))


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', text)


def test_genes_alone_have_no_chapter_on_proteins(text: str) -> None:
    assert sections(text) == ["first", "genes", "experts", "spots"]
    words = visible(text)
    assert "Gene evidence from H&E" in words and "mIF" not in words and "arkers" not in words
    assert "without the clinical notes" not in words and "No clinical notes" not in words
    assert text.count('name="heatmap" value=""') == 1


def test_proteins_come_before_genes(text_of_both: str) -> None:
    assert sections(text_of_both) == ["first", "table", "heads", "evidence", "genes", "experts", "spots"]
    assert "Biomarker and gene evidence" in text_of_both
    assert text_of_both.count('name="heatmap" value=""') == 1


def test_proteins_alone_say_nothing_of_genes(outputs: Path) -> None:
    words = visible((outputs / "report.html").read_text("utf-8"))
    assert not re.search(r"\b[Gg]ene|\bspots?\b|[Ee]xpert", words)


def test_every_estimate_and_spot_is_shown(text: str, alone: sample.Sample) -> None:
    shown = " ".join(part for _, part in Page(text).texts)
    spatial = alone.result.spatial
    assert spatial is not None
    for gene in spatial.genes:
        assert gene.gene in shown
        if gene.value is not None:
            assert f"{'−' if gene.value < 0 else '+'}{abs(gene.value):.2f}" in shown
    for row in spatial.evidence:
        assert all(spot.spot in shown for spot in row.neighbours[:8])
        assert f"{row.similarity:.2f}" in shown
    told = {spot.spot for row in spatial.evidence for spot in row.neighbours[:8]}
    assert set(re.findall(r"P\d{3}-A_\d\dx\d\d", shown)) == told


def test_the_legend_shows_an_interval_only_where_there_is_one(text: str, alone: sample.Sample, tmp_path: Path) -> None:
    """Where every tile abstained no gene has one, though the bundle is calibrated."""
    spatial = alone.result.spatial
    assert spatial is not None and spatial.calibration is not None
    nothing = {"status": "abstained", "reason": "every tile abstained"}
    nothing |= dict.fromkeys(("value", "low", "high", "expression", "spread", "tile_p10", "tile_p90"))
    silent = spatial.model_copy(update={"genes": [gene.model_copy(update=nothing) for gene in spatial.genes]})
    result = alone.result.model_copy(update={"spatial": silent})
    write_outputs(tmp_path, result, alone.tiles, alone.images)
    for page, shown in ((text, True), ((tmp_path / "report.html").read_text("utf-8"), False)):
        chapter = page[page.index('id="genes"') :]
        legend = chapter.split('class="reading"')[1].split("</div>")[0]
        assert ("interval" in legend) == ("<line" in legend) == shown
        assert ("an interval holds 0" in chapter.split("</p>")[0]) == shown
        assert (re.search(r">90\W% interval</th>", chapter) is not None) == shown
        assert ("The interval is set so" in page) == shown


def test_a_spot_names_the_five_genes_farthest_from_average(text: str, alone: sample.Sample) -> None:
    spatial = alone.result.spatial
    assert spatial is not None
    spot = spatial.evidence[0].neighbours[0]
    farthest = sorted(spot.genes, key=lambda gene: -abs(gene.z))[:5]
    measured = re.search(rf"{re.escape(spot.spot)}</div>.*?<dl class=\"measured\">(.*?)</dl>", text, re.DOTALL)
    assert measured is not None
    assert [html.unescape(name) for name in re.findall(r"<dt>(.*?)</dt>", measured[1])] == [g.gene for g in farthest]


def test_a_long_table_shows_the_sixty_farthest_and_says_so(text_of_both: str, many: sample.Sample) -> None:
    table = text_of_both[text_of_both.index('id="gene-table"') :]
    shown = [
        html.unescape(name) for name in re.findall(r'<th scope="row" data-sort="(.*?)"', table.split("</table>")[0])
    ]
    spatial = many.result.spatial
    assert spatial is not None
    size = {gene.gene: abs(gene.value) for gene in spatial.genes if gene.value is not None}
    assert len(shown) == 60 and min(size[name] for name in shown) >= max(
        size[name] for name in size if name not in shown
    )
    assert "result.json has all" in text_of_both
    assert re.search(rf"No spot measured it:</b> {spatial_sample.SILENT}", text_of_both)


@pytest.mark.parametrize("page", ["text", "text_of_both"])
def test_the_page_stands_alone_and_speaks_to_all(page: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(page)
    for tag, attributes in Page(text).tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value[:60])
        if tag == "svg":
            assert {"aria-label", "aria-labelledby", "aria-hidden", "width"} & set(attributes)
    assert not re.search(r"https?://|@import|url\(|<link|<iframe|fetch\(", text)


@pytest.mark.parametrize("page", ["text", "text_of_both"])
def test_what_a_page_points_to_is_there_once(page: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(page)
    tags = Page(text).tags
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {a["href"][1:] for _, a in tags if (a.get("href") or "").startswith("#")} <= set(names)
    pictures = re.findall(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]{200,}", text)
    shared = len(pictures) - len(set(pictures))
    assert shared == 0 and len(pictures) > 20


def test_gene_names_are_never_markup(text: str, folder: Path) -> None:
    assert "<b>," not in text and ">&lt;b&gt;<" in text and "HLA-DRB1" in text
    assert not re.search(r'<th scope="row"[^>]*><b>', text)


def test_the_map_of_experts_lies_where_the_tiles_lie(text: str, alone: sample.Sample) -> None:
    found = re.search(r'<image id="experts-map"[^>]*base64,([^"]+)"', text)
    assert found is not None
    overlay = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGBA"))
    scale = alone.images.overview.shape[1] * sample.SCALE / overlay.shape[1]
    expected = np.zeros(overlay.shape[:2], bool)
    for row in alone.tiles.select(["x", "y", "expert"]).to_pylist():
        edges = (row["y"], row["y"] + sample.EXTENT, row["x"], row["x"] + sample.EXTENT)
        top, bottom, left, right = (round(edge / scale) for edge in edges)
        expected[top:bottom, left:right] = True
        inside = overlay[top + 2 : bottom - 2, left + 2 : right - 2]
        if row["expert"] is None:
            assert (inside[..., :3].max(axis=-1) - inside[..., :3].min(axis=-1)).max() < 12
        else:
            assert (inside[..., :3] == expert_colours()[row["expert"] - 1]).all()
    assert ((overlay[..., 3] > 0) != expected).mean() < 0.02


def test_every_expert_that_weighs_most_somewhere_is_named_on_a_tile_of_its_own(
    text_of_both: str, many: sample.Sample
) -> None:
    labels = re.search(r'<g id="experts-numbers".*?</g>', text_of_both)
    assert labels is not None
    places = {
        int(number): (float(x), float(y))
        for x, y, number in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>(\d+)</text>', labels[0])
    }
    experts = many.tiles["expert"].drop_null().to_pylist()
    assert set(places) == set(experts)
    width = re.search(r'<image id="slide" width="(\d+)"', text_of_both)
    assert width is not None
    scale = many.images.overview.shape[1] * sample.SCALE / int(width[1])
    own = {(row["column"], row["row"]): row["expert"] for row in many.tiles.to_pylist()}
    for expert, (x, y) in places.items():
        assert own[int(x * scale // sample.EXTENT), int(y * scale // sample.EXTENT)] == expert


def _mapped(heaviest: np.ndarray, side: int) -> tuple[ExpertMap, np.ndarray]:
    """The map of a grid of experts (0 is no tile), each tile `side` pixels wide; and the grid as pixels."""
    rows, columns = np.nonzero(heaviest)
    tiles = pa.table({"expert": pa.array(heaviest[rows, columns].astype(np.int32))})
    down, across = (np.repeat(np.arange(count), side).astype(np.int32) for count in heaviest.shape)
    found = expert_map(tiles, TileMap(across, down, columns.astype(np.int32), rows.astype(np.int32)))
    return found, heaviest.repeat(side, axis=0).repeat(side, axis=1)


def _regions(heaviest: np.ndarray) -> int:
    """How many patches the experts form, counted by flooding."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(heaviest), strict=True)}
    count = 0
    while left:
        count, edge = count + 1, [left.pop()]
        while edge:
            y, x = edge.pop()
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            same = {cell for cell in near if heaviest[cell] == heaviest[y, x]}
            left -= same
            edge += same
    return count


def test_every_separate_patch_of_an_expert_bears_its_number_where_tiles_are_large() -> None:
    heaviest = np.random.default_rng(5).integers(0, 5, (9, 12))
    found, pixels = _mapped(heaviest, 80)
    assert len(found.labels) == _regions(heaviest) > 2 * len(np.unique(heaviest))
    for label in found.labels:
        assert pixels[int(label.y), int(label.x)] == label.expert


def test_numbers_never_touch_and_stay_on_their_patch_where_tiles_are_small() -> None:
    blocks = np.random.default_rng(6).integers(1, 5, (10, 12)).repeat(12, axis=0).repeat(12, axis=1)
    blocks[::7, ::5] = 6
    found, pixels = _mapped(blocks, 8)
    places = np.array([(label.x, label.y) for label in found.labels])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
    assert len({label.expert for label in found.labels}) == 5 < len(places)
    assert apart.min() > 2 * found.radius
    for label in found.labels:
        assert pixels[int(label.y), int(label.x)] == label.expert


def _oklab(colours: np.ndarray) -> np.ndarray:
    """sRGB, 0 to 255, in Oklab (Ottosson 2020)."""
    encoded = colours / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array([[0.41222, 0.2119, 0.0883], [0.53633, 0.6807, 0.28172], [0.05145, 0.1074, 0.62998]])
    return np.cbrt(cones) @ np.array(
        [[0.21045, 1.978, 0.0259], [0.79362, -2.42859, 0.78277], [-0.00407, 0.45059, -0.80868]]
    )


def test_sixteen_experts_are_told_apart_over_dark_and_over_bright_tissue() -> None:
    own = expert_colours()[:16].astype(float)
    seen = [_oklab(OPACITY * own + (1 - OPACITY) * grey) for grey in (90, 165, 235)]
    apart = [np.linalg.norm(one[:, None] - other[None], axis=-1) + 9 * np.eye(16) for one in seen for other in seen]
    assert np.min(apart) > 0.08


def test_colours_of_three_times_sixteen_experts_differ() -> None:
    assert len({tuple(colour) for colour in expert_colours()[:48].tolist()}) == 48


def test_genes_with_a_heatmap_are_those_that_vary_most(many: sample.Sample) -> None:
    spatial = many.result.spatial
    assert spatial is not None
    table = many.tiles.to_pydict()
    spread = {
        gene.gene: np.std([z for z in table[f"gene_{gene.gene}"] if z is not None])
        for gene in spatial.genes
        if gene.gene != spatial_sample.SILENT
    }
    chosen = mapped_genes(many.result, many.tiles)
    assert len(chosen) == 24
    assert min(spread[name] for name in chosen) >= max(spread[name] for name in spread if name not in chosen)


def test_heatmaps_are_written_and_older_ones_go(folder: Path, folder_of_both: Path) -> None:
    names = {path.name for path in (folder / "heatmaps").iterdir()}
    assert {"experts.png", "gene_HLA-DRB1.png", "gene__b_.png", "gene_expert.png"} <= names
    assert len(names) == len(spatial_sample.NAMES) and "gene_GONE.png" not in names
    for name in names:
        assert Image.open(folder / "heatmaps" / name).text["Disclaimer"].startswith("For research use only")
    assert len(list((folder_of_both / "heatmaps").glob("gene_*.png"))) == 24
    assert (folder_of_both / "heatmaps" / "CD8.png").exists()


def measurements(folder: Path) -> list[dict[str, float]]:
    collection = json.loads(gzip.decompress((folder / "tiles.geojson.gz").read_bytes()))
    return [feature["properties"]["measurements"] for feature in collection["features"]]


def test_qupath_is_given_experts_and_genes(
    folder: Path, folder_of_both: Path, alone: sample.Sample, many: sample.Sample
) -> None:
    names = ["expert", "spade_similarity", "similarity", *(f"gene_{name}" for name in spatial_sample.NAMES)]
    for row, told in zip(alone.tiles.to_pylist(), measurements(folder), strict=True):
        expected = {name: row[name] for name in names if row[name] is not None}
        assert {name: told.get(name) for name in expected} == pytest.approx(expected, abs=1e-4)
    genes = {name for told in measurements(folder_of_both) for name in told if name.startswith("gene_")}
    assert genes == {f"gene_{name}" for name in mapped_genes(many.result, many.tiles)}


def test_cautions_name_genes_without_an_estimate_briefly(alone: sample.Sample) -> None:
    (told,) = [item.text for item in cautions(alone.result) if not item.serious]
    assert told.startswith(f"No estimate for {spatial_sample.SILENT};")
    spatial = alone.result.spatial
    assert spatial is not None
    silent = [gene.model_copy(update={"status": "abstained"}) for gene in spatial.genes]
    for keep, words in ((0, "No gene has an estimate"), (1, f"{spatial.genes[5].gene} and 2 others;")):
        genes = [*spatial.genes[:keep], *silent[keep:]]
        result = alone.result.model_copy(update={"spatial": spatial.model_copy(update={"genes": genes})})
        assert any(words in item.text for item in cautions(result))


def shown(result: Result) -> str:
    stream = io.StringIO()
    show(result, Console(file=stream, width=100))
    return stream.getvalue()


def test_the_terminal_shows_twelve_genes_and_a_line_on_experts(alone: sample.Sample, many: sample.Sample) -> None:
    told = shown(alone.result)
    assert "Marker" not in told and "HLA-DRB1" in told and "<b>" in told
    assert f"Of {spatial_sample.EXPERTS} experts, 1.7 speak for a tile" in told
    both = shown(many.result)
    assert "Marker" in both and "The 12 of 70 genes farthest from average" in both
    assert len(re.findall(r"^ ?(?:GENE\d+|EPCAM|HLA-DRB1|<b>|KRT20|COL1A1|CD3E|expert) .* to ", both, re.M)) == 12


PROBE = """<script>
window.said = [];
addEventListener("error", (event) => said.push("error: " + event.message));
addEventListener("securitypolicyviolation", (event) => said.push("policy: " + event.violatedDirective));
addEventListener("load", () => {
  const $ = (query) => document.querySelector(query);
  const seen = (query) => getComputedStyle($(query)).display !== "none";
  const out = {};
  $("#gene-table thead th:nth-child(2) button").click(); out.highest = $("#gene-table tbody th").dataset.sort;
  $("#expert-table thead th:nth-child(2) button").click(); out.heaviest = $("#expert-table tbody th").dataset.sort;
  out.before = [seen("#view-scale"), seen("#view-key"), $("#view-numbers").getAttribute("visibility")];
  $("input[value=experts-map]").click();
  out.experts = [seen("#view-scale"), seen("#view-key"), $("#view-numbers").getAttribute("visibility")];
  out.heat = $("#view-heat").getAttribute("href");
  $("input[value=gene-1]").click();
  out.gene = [seen("#view-scale"), seen("#view-key"), $("#view-caption").textContent];
  out.overflow = document.documentElement.scrollWidth > innerWidth;
  out.said = said;
  document.title = "PROBE" + JSON.stringify(out);
});
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
@pytest.mark.parametrize("name", ["alone", "many"])
def test_the_controls_work_in_a_browser(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run = request.getfixturevalue(name)
    text = request.getfixturevalue({"alone": "text", "many": "text_of_both"}[name])
    path = tmp_path / "probe.html"
    path.write_text(text.replace("<title>", PROBE + "<title>", 1), "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900"]
    ran = subprocess.run(
        ["chromium", *options, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r"<title>PROBE(.*?)</title>", ran.stdout)
    assert found, "the page's script did not reach its end"
    out = json.loads(html.unescape(found[1]))
    spatial = run.result.spatial
    values = {gene.gene: gene.value for gene in spatial.genes if gene.value is not None}
    assert out["said"] == [] and out["overflow"] is False
    assert out["highest"] == max(values, key=values.get)
    assert out["heaviest"] == str(max(spatial.experts, key=lambda expert: expert.share).expert)
    assert out["before"] == [True, False, "hidden"] and out["experts"] == [False, True, "visible"]
    assert out["heat"] == "#experts-map"
    assert out["gene"] == [True, False, f"{mapped_genes(run.result, run.tiles)[1]}, z by tile"]
