"""The report stands alone, says nothing that the result does not, and works in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from haiku_edge.runtime.report import ReportImages
from haiku_edge.runtime.report.html import render_report
from haiku_edge.runtime.report.plots import axis_for, interval_plot

from . import sample

VOID = {"meta", "br", "img", "input", "link", "hr"}
NUMBER = re.compile(r"[+−]?\d+(?:\.\d+)?")


class Page(HTMLParser):
    """Tags with their attributes, and texts with the tags and ids that hold them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self._open.append((tag, dict(attrs).get("class") or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop()[0] == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(tag for tag, _ in self._open), data))


@pytest.fixture(scope="module")
def report(outputs: Path) -> str:
    return (outputs / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(report: str) -> Page:
    return Page(report)


def test_nothing_is_fetched_from_anywhere(report: str, page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value[:60])
    assert not re.search(r"https?://|@import|url\(|<link|<iframe|fetch\(|XMLHttpRequest|WebSocket", report)


def test_the_browser_is_told_to_fetch_nothing(page: Page) -> None:
    (policy,) = [
        a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy and "img-src data:" in policy and "http" not in policy


def numbers_of(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers_of(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def numbers_named(value: object, name: str) -> Iterator[float]:
    """The numbers of all fields of that name, however deep."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key == name and isinstance(item, float) else numbers_named(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from numbers_named(item, name)


def words_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from words_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from words_of(item)
    elif isinstance(value, str):
        yield value


def test_every_number_in_tables_and_lists_stands_in_the_result(page: Page, outputs: Path) -> None:
    result = json.loads((outputs / "result.json").read_text("utf-8"))
    numbers = list(numbers_of(result))
    known = {f"{abs(n):.2f}" for n in numbers} | {f"{abs(n):.0f}" for n in numbers if n == int(n)}
    known |= {f"{100 * n:.0f}" for n in numbers if 0 <= n <= 1}
    known |= {f"{n:.0f}" for n in numbers_named(result, "percentile")} | {"1"}  # "<1"
    known |= {f"{n:.1f}" for n in numbers_named(result, "intensity")}
    known |= {f"{n:.6g}" for name in ("mpp", "mpp_x", "mpp_y") for n in numbers_named(result, name)}
    known |= {"10", "90", "0", "255"}  # in the headings
    words = {word.strip(".,:;") for text in words_of(result) for word in text.split()}
    checked = 0
    for tags, text in page.texts:
        if not {"table", "dl"} & set(tags) or "svg" in tags:
            continue
        own = [word for word in text.replace("\u202f", "").split() if word.strip(".,:;") not in words]
        for number in NUMBER.findall(" ".join(own)):
            assert number.lstrip("+−") in known, (number, text)
            checked += 1
    assert checked > 18 * 8 + 8 * 5 * 5


def test_every_estimate_and_neighbour_of_the_result_is_shown(page: Page, run: sample.Sample) -> None:
    shown = " ".join(text for _, text in page.texts)
    for item in run.result.biomarkers:
        assert item.marker in shown
        if item.value is not None:
            sign = "−" if item.value < 0 else "+"
            assert f"{sign}{abs(item.value):.2f}" in shown
    for row in run.result.evidence:
        for neighbour in row.neighbours:
            assert all(
                word in shown
                for word in (neighbour.patch, neighbour.section, neighbour.patient, neighbour.organ, neighbour.panel)
            )


def test_research_use_and_synthetic_are_said_on_screen_and_on_each_printed_page(
    report: str, run: sample.Sample
) -> None:
    assert report.count(run.result.notice) >= 4
    margin = re.findall(r"@bottom-left \{ content: \"([^\"]+)\"", report)
    assert (
        margin and all(run.result.notice in text for text in margin) and "Synthetic demonstration bundle" in margin[-1]
    )


def test_a_bundle_that_is_not_synthetic_is_not_called_so(run: sample.Sample) -> None:
    bundle = run.result.bundle.model_copy(update={"synthetic": False, "statement": "Licensed towers."})
    result = run.result.model_copy(update={"bundle": bundle, "warnings": []})
    assert "Synthetic" not in render_report(result, run.images, run.images.overview, {})


def test_words_from_outside_are_never_markup(run: sample.Sample) -> None:
    hostile = '</script><img src=x onerror="alert(1)">'
    slide = run.result.slide.model_copy(update={"name": hostile})
    biomarkers = [run.result.biomarkers[0].model_copy(update={"marker": hostile}), *run.result.biomarkers[1:]]
    result = run.result.model_copy(update={"slide": slide, "biomarkers": biomarkers, "warnings": [hostile]})
    images = ReportImages(run.images.overview, run.images.scale, run.images.tiles, run.images.composites,
                          {name: {hostile: b"x"} for name in run.images.channels})  # fmt: skip
    text = render_report(result, images, run.images.overview, {})
    assert "<img src=x" not in text and text.count("</script>") == 2
    assert not [a for _, a in Page(text).tags if "onerror" in a]


def test_patches_of_a_synthetic_bundle_are_never_called_real(run: sample.Sample) -> None:
    bundles = [run.result.bundle.model_copy(update={"synthetic": synthetic}) for synthetic in (True, False)]
    pages = [
        render_report(run.result.model_copy(update={"bundle": bundle}), run.images, run.images.overview, {})
        for bundle in bundles
    ]
    assert ["real, measured mIF patches" in page for page in pages] == [False, True]
    assert ["simulated mIF patches" in page for page in pages] == [True, False]


def test_every_picture_has_words_for_those_who_cannot_see_it(page: Page) -> None:
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes.get("alt")
        if tag == "svg":
            named = attributes.get("aria-label") or attributes.get("aria-labelledby") or attributes.get("aria-hidden")
            assert (
                named or attributes == {"width": "44", "height": "12"} or attributes == {"width": "12", "height": "12"}
            )


def test_every_picture_stands_in_the_file_once(report: str) -> None:
    found = re.findall(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]{200,}", report)
    assert len(found) == len(set(found)) > 100


def test_eight_rows_of_five_patches_with_all_channels_stay_below_eight_megabytes(
    report: str, run: sample.Sample
) -> None:
    assert sum(len(row.neighbours) for row in run.result.evidence) == 40
    assert len(report) < 8_000_000


def test_an_empty_result_still_makes_a_report(run: sample.Sample) -> None:
    result = run.result.model_copy(update={"evidence": [], "biomarkers": [], "warnings": []})
    text = render_report(result, run.images, run.images.overview, {})
    assert "No tile of this slide has evidence to show" in text


def test_intervals_are_explained_only_where_a_marker_has_one(run: sample.Sample, report: str) -> None:
    bare = [item.model_copy(update={"low": None, "high": None}) for item in run.result.biomarkers]
    assert run.result.calibration is not None
    result = run.result.model_copy(update={"biomarkers": bare})
    without = render_report(result, run.images, run.images.overview, {})
    for page, shown in ((report, True), (without, False)):
        chapter = page[page.index('id="table"') :]
        legend = chapter.split('class="reading"')[1].split("</div>")[0]
        assert ("interval" in legend) == ("<line" in legend) == shown
        assert ("an interval holds 0" in chapter.split("</p>")[0]) == shown
        assert ("The interval is set so" in page) == shown


def test_the_interval_plot_is_to_scale(run: sample.Sample) -> None:
    axis = axis_for(run.result.biomarkers)
    zero = axis.x(0)
    for item in run.result.biomarkers:
        plot = interval_plot(item, axis)
        if item.value is None or item.low is None or plot.value is None or plot.low is None:
            assert plot.value is None and plot.low is None
            continue
        assert 0 <= plot.low <= plot.value <= 220
        assert (plot.value - zero) * item.low == pytest.approx((plot.low - zero) * item.value, abs=0.2)
    assert all(axis.x(z) == x for x, z in axis.ticks) and 0.0 in [z for _, z in axis.ticks]


PROBE = """<script>
window.said = [];
addEventListener("error", (event) => said.push("error: " + event.message));
addEventListener("securitypolicyviolation", (event) => said.push("policy: " + event.violatedDirective));
addEventListener("load", () => {
  const $ = (query) => document.querySelector(query);
  const first = () => $("#markers tbody th").dataset.sort;
  const buttons = document.querySelectorAll("#markers thead button");
  const out = {};
  buttons[1].click(); out.highest = first();
  buttons[1].click(); out.lowest = first(); out.last = $("#markers tbody tr:last-child td").dataset.sort;
  $("input[value=heat-8]").click();
  const [heat, base] = ["#view-heat", "#view-base"].map((id) => $(id).getAttribute("href"));
  out.heat = [heat, base, $("#view-caption").textContent];
  const picker = $("select[data-row=row-0]");
  picker.value = "SMA"; picker.dispatchEvent(new Event("change"));
  out.states = [...document.querySelectorAll("#row-0 [data-patch]")].map((patch) => patch.dataset.state);
  out.captions = [...document.querySelectorAll("#row-0 .channel-said")].map((said) => said.textContent);
  out.overflow = document.documentElement.scrollWidth > innerWidth;
  out.said = said;
  document.title = "PROBE" + JSON.stringify(out);
});
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_the_controls_work_in_a_browser_without_an_error(report: str, run: sample.Sample, tmp_path: Path) -> None:
    path = tmp_path / "probe.html"
    path.write_text(report.replace("<title>", PROBE + "<title>", 1), "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += [
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,900",
    ]
    ran = subprocess.run(
        ["chromium", *options, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    found = re.search(r"<title>PROBE(.*?)</title>", ran.stdout)
    assert found, "the page's script did not reach its end"
    out = json.loads(found[1])
    values = {item.marker: item.value for item in run.result.biomarkers if item.value is not None}
    assert out["said"] == [] and out["overflow"] is False
    assert (out["highest"], out["lowest"], out["last"]) == (
        max(values, key=values.get),
        min(values, key=values.get),
        "",
    )
    assert out["heat"] == ["#heat-8", "#slide-grey", f"{run.result.biomarkers[8].marker}, z by tile"]
    for neighbour, state, caption in zip(
        run.result.evidence[0].neighbours, out["states"], out["captions"], strict=True
    ):
        z = {item.marker: item.z for item in neighbour.markers}.get("SMA")
        assert state == ("missing" if z is None else "channel")
        assert (f"{abs(z):.2f}" if z is not None else "not measured") in caption
