"""The clinical facts of the atlas's patients, `facts.arrow`: one row a fact, in the order of the notes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa

from ..errors import BundleContentError

Facts = Mapping[str, Mapping[str, str]]
"""Patient (pseudonym) → key → value, keys in the order of the notes."""

_COLUMNS = ("patient", "key", "value")


def facts_schema() -> pa.Schema:
    """The Arrow schema of `facts.arrow`."""
    return pa.schema([pa.field(name, pa.string(), nullable=False) for name in _COLUMNS])


def write_facts(facts: Facts) -> bytes:
    """The bytes of `facts.arrow` (Arrow IPC file); the order of patients and of each one's facts is kept."""
    rows = [(patient, key, value) for patient, own in facts.items() for key, value in own.items()]
    columns = [pa.array([row[place] for row in rows], pa.string()) for place in range(len(_COLUMNS))]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, facts_schema()) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=facts_schema()))
    return bytes(sink.getvalue())


def read_facts(data: bytes, patients: Collection[str]) -> dict[str, dict[str, str]]:
    """Read the verified bytes of `facts.arrow`.

    Args:
        data: The file.
        patients: Pseudonyms of the atlas's patients.

    Returns:
        Patient → facts; a patient without facts is not in it.

    Raises:
        BundleContentError: Not such a table, a fact given twice or empty, or of a patient who is not in the atlas.
    """
    try:
        table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _refused(f"they are no Arrow file ({error})") from None
    if not table.schema.remove_metadata().equals(facts_schema()) or any(c.null_count for c in table.columns):
        raise _refused("their columns are not those of this version, or a value is missing")
    facts: dict[str, dict[str, str]] = {}
    for patient, key, value in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True):
        own = facts.setdefault(patient, {})
        if not key or not value or key in own:
            raise _refused("a fact is empty, or given twice")
        own[key] = value
    if not set(facts) <= set(patients):
        raise _refused("they are of a patient who is not in the atlas")
    return facts


def _refused(why: str) -> BundleContentError:
    return BundleContentError(f"The clinical facts of the atlas can't be used: {why}. Export the bundle again.")
