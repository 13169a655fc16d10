"""What the report says first."""

from __future__ import annotations

from haiku_edge.runtime.report.cautions import cautions

from . import sample


def changed(run: sample.Sample, section: str, **fields: object) -> sample.Result:
    part = getattr(run.result, section).model_copy(update=fields)
    return run.result.model_copy(update={section: part})


def titles(result: sample.Result) -> list[str]:
    return [caution.title for caution in cautions(result)]


def test_the_runs_own_warnings_come_first(run: sample.Sample) -> None:
    assert [item.text for item in cautions(run.result)][: len(run.result.warnings)] == run.result.warnings


def test_a_slide_that_is_not_h_and_e_is_said(run: sample.Sample) -> None:
    assert "Stain" not in titles(run.result)
    stain = run.result.slide.stain.model_copy(update={"looks_like": "IHC"})
    assert "Stain" in titles(changed(run, "slide", stain=stain))


def test_notes_that_were_cut_named_a_marker_or_held_identifiers_are_said(run: sample.Sample) -> None:
    assert {"Notes cut short", "Markers named in the notes", "Identifiers removed"} <= set(titles(run.result))
    clean = changed(run, "notes", truncated=False, markers_named=[], dropped=[])
    assert not {"Notes cut short", "Markers named in the notes", "Identifiers removed"} & set(titles(clean))


def test_missing_notes_are_said(run: sample.Sample) -> None:
    assert "No clinical notes" in titles(changed(run, "notes", given=False))


def test_abstention_is_serious_once_it_takes_most_tiles(run: sample.Sample) -> None:
    def serious(abstained: int) -> bool:
        found = cautions(changed(run, "tiles", abstained=abstained))
        return next(item.serious for item in found if item.title == "Abstention")

    assert not serious(1) and serious(run.result.tiles.predicted + 1)
    assert "Abstention" not in titles(changed(run, "tiles", abstained=0))


def test_nothing_is_said_twice_in_the_same_words(run: sample.Sample) -> None:
    twice = run.result.model_copy(update={"warnings": [*run.result.warnings, *run.result.slide.warnings]})
    texts = [item.text for item in cautions(twice)]
    assert len(texts) == len(set(texts))
