"""What the report says first: the run's warnings as they are, and each thing once."""

from __future__ import annotations

from haiku_edge.runtime.report.cautions import cautions
from haiku_edge.runtime.report.html import render_report

from . import sample


def changed(run: sample.Sample, section: str, **fields: object) -> sample.Result:
    part = getattr(run.result, section).model_copy(update=fields)
    return run.result.model_copy(update={section: part})


def beside_the_warnings(result: sample.Result) -> list[str]:
    return [item.text for item in cautions(result) if not item.serious]


def test_the_runs_warnings_come_first_in_their_order_and_as_they_are(run: sample.Sample) -> None:
    result = run.result.model_copy(update={"warnings": ["Second letter.", "A first.", "The third."]})
    assert [item.text for item in cautions(result) if item.serious] == result.warnings
    assert [item.text for item in cautions(result)][:3] == result.warnings


def test_what_the_warnings_are_there_for_is_not_said_again_in_other_words(run: sample.Sample) -> None:
    stain = run.result.slide.stain.model_copy(update={"looks_like": "IHC"})
    slide = run.result.slide.model_copy(update={"stain": stain, "warnings": ["The slide has no colour profile."]})
    notes = run.result.notes.model_copy(update={"warnings": ["The notes were odd."], "truncated": True})
    tiles = run.result.tiles.model_copy(update={"abstained": 1000})
    result = run.result.model_copy(update={"slide": slide, "notes": notes, "tiles": tiles, "warnings": ["All of it."]})
    (missing,) = beside_the_warnings(result)
    assert missing.startswith(f"No estimate for {sample.ABSTAINED}, {sample.UNMEASURED};")


def test_missing_notes_are_said(run: sample.Sample) -> None:
    assert not [text for text in beside_the_warnings(run.result) if "notes" in text]
    assert any("No clinical notes" in text for text in beside_the_warnings(changed(run, "notes", given=False)))


def test_a_slide_without_any_estimate_does_not_list_every_marker(run: sample.Sample) -> None:
    silent = [item.model_copy(update={"status": "abstained", "value": None}) for item in run.result.biomarkers]
    (text,) = beside_the_warnings(run.result.model_copy(update={"biomarkers": silent}))
    assert text.startswith("No marker has an estimate")


def test_a_statement_among_the_warnings_stands_above_the_slide_once(run: sample.Sample) -> None:
    statement = run.result.bundle.statement
    for warnings in ([], [statement]):
        result = run.result.model_copy(update={"warnings": warnings})
        page = render_report(result, run.images, run.images.overview, {})
        assert page[: page.index('id="slide-title"')].count(statement) == 1
