"""What is accepted as notes, what is refused, and in which words."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from haiku_edge.runtime.errors import (
    EmptyNotesError,
    NotesError,
    NotesShapeError,
    OverlongNotesError,
    UnreadableNotesError,
)
from haiku_edge.runtime.notes import parse_notes, read_notes
from haiku_edge.runtime.notes.document import MAX_BYTES
from haiku_edge.runtime.notes.facts import MAX_FACTS

CASE = {
    "tissue_type": "Lung",
    "disease": "Lung Cancer",
    "diagnosis": "Adenocarcinoma",
    "sex": "F",
    "age": 68,
    "tnm": "T3N1M0",
    "grade": 3,
    "stage": "IIIA",
}


def _bytes(value: object) -> bytes:
    return json.dumps(value).encode()


def test_facts_keep_the_order_of_the_file_and_numbers_become_text() -> None:
    notes = parse_notes(_bytes(CASE))
    assert notes.facts == tuple((key, str(value)) for key, value in CASE.items())
    assert (notes.text, notes.dropped, notes.warnings) == (None, (), ())


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (3.0, "3"), (2.5, "2.5"), (1e-3, "0.001"), (True, "yes"), (False, "no"), ("  a \n b ", "a b"), (0, "0")],
)
def test_values_become_short_text(value: object, text: str) -> None:
    assert parse_notes(_bytes({"grade": value})).facts == (("grade", text),)


@pytest.mark.parametrize("nothing", ["-", "nan", "NaN", "None", "n/a", "N/A", "null", "", "  ", None])
def test_values_that_say_nothing_are_no_facts(nothing: object) -> None:
    assert parse_notes(_bytes({"stage": nothing, "grade": 2})).facts == (("grade", "2"),)


@pytest.mark.parametrize(
    "data", [b"", b"  \n", b"{}", b'{"stage": "-"}', b'{"text": " "}', b'\xef\xbb\xbf{"stage": null}']
)
def test_notes_without_a_fact_are_empty(data: bytes) -> None:
    with pytest.raises(EmptyNotesError):
        parse_notes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"not json",
        b"{",
        b'{"a": 1,}',
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xe9"}',
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "a ": 2}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": ' + b"1" * 31 + b"}",
        b'{"a": -' + b"1" * 400 + b"}",
        b'{"a": 1e300}',
        b'{"a": "\\ud83d"}',
        b'{"a": 1} {"b": 2}',
        b"\x00\x01\x02",
    ],
)
def test_what_is_not_json_text_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableNotesError):
        parse_notes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"3",
        b"null",
        b"true",
        b'"text"',
        b'{"a": {"b": {"c": 1}}}',
        b'{"stage": ["I", "II"]}',
        b'{"text": 3}',
        b'{"text": "carcinoma", "stage": "II"}',
        b'{"resourceType": "Patient"}',
        b'{"resourceType": "Bundle", "entry": []}',
    ],
)
def test_what_is_not_a_flat_object_is_refused_by_its_shape(data: bytes) -> None:
    with pytest.raises(NotesShapeError):
        parse_notes(data)


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"a":' * 100_000, b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"])
def test_deep_nesting_is_refused_before_the_parser_recurses(data: bytes) -> None:
    with pytest.raises(NotesShapeError, match="levels deep"):
        parse_notes(data)


def test_brackets_inside_strings_are_not_nesting() -> None:
    assert parse_notes(_bytes({"grade": "[{" * 200 + '\\"'})).facts[0][1].startswith("[{[{")


@pytest.mark.parametrize(
    "data",
    [
        b" " * (MAX_BYTES + 1),
        _bytes({"text": "carcinoma " * 3000}),
        _bytes({"diagnosis": "carcinoma " * 300}),
        _bytes({f"fact_{i}_x": "yes" for i in range(MAX_FACTS + 1)}),
    ],
)
def test_more_than_any_clinical_note_is_overlong(data: bytes) -> None:
    with pytest.raises(OverlongNotesError):
        parse_notes(data)


def test_every_refusal_names_its_cause_and_a_remedy_without_content() -> None:
    refusals = [b'{"Testcase Jane": [1]}', b'{"a": "Testcase', b"Testcase", b'{"Testcase": {}}', b'{"8812345": []}']
    for data in refusals:
        with pytest.raises(NotesError) as caught:
            parse_notes(data)
        message = str(caught.value)
        assert "Testcase" not in message and "8812345" not in message
        assert message.count(". ") >= 1
        assert (
            caught.value.__cause__ is None and caught.value.__suppress_context__
        ) or caught.value.__context__ is None


def test_a_shape_error_names_the_key_of_an_ordinary_fact() -> None:
    with pytest.raises(NotesShapeError, match='"lymph_nodes"'):
        parse_notes(b'{"lymph_nodes": [1, 2]}')


def test_a_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_bytes(b"\xef\xbb\xbf" + _bytes(CASE))
    assert read_notes(path) == parse_notes(_bytes(CASE))


def test_a_path_without_a_readable_file_is_unreadable_and_its_name_is_not_repeated(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "Testcase.pipe")
    for path in (tmp_path / "Testcase.json", tmp_path, tmp_path / "Testcase.pipe", Path("Testcase\0")):
        with pytest.raises(UnreadableNotesError) as caught:
            read_notes(path)
        assert "Testcase" not in str(caught.value)


def test_a_file_larger_than_the_limit_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    with path.open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(OverlongNotesError):
        read_notes(path)


def test_a_record_number_written_as_a_float_is_known_as_one() -> None:
    notes = parse_notes(_bytes({"score": 8812345.0, "grade": 2}))
    assert notes.facts == (("grade", "2"),)
    assert notes.dropped == ("number of seven digits or more (1)",)


def test_the_place_of_the_sample_is_left_out_as_unused_and_not_as_an_identifier() -> None:
    notes = parse_notes(_bytes({"position": "A4", "spot": 3, "core_no": 7, "date_to_death_months": 25}))
    assert notes.facts == (("date_to_death_months", "25"),)
    assert notes.dropped == ()
    assert [warning for warning in notes.warnings if "not used by the model" in warning and warning.endswith(" 3.")]
