"""`regions.csv`: which images of which regions belong together, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from haiku_edge.runtime.errors import UnreadableDatasetError

from ..dataset.regions import clean_facts, patient_of, read_metadata, read_rows

REGIONS_FILE = "regions.csv"
KNOWN_COLUMNS = ("region", "patient", "he", "mif", "mpp_he", "mpp_mif", "channels", "metadata", "role")
"""Columns with a meaning of their own; every other column is a clinical fact of that name."""


@dataclass(frozen=True, slots=True)
class RegionPair:
    """The registered images of one region: both show the same rectangle of tissue.

    Attributes:
        region: Name, once in the table.
        patient: Pseudonym.
        mif: Multichannel image.
        he: H&E image, or None.
        mpp_mif: Micrometres per pixel of the mIF image, or None to take what the file states.
        mpp_he: Micrometres per pixel of the H&E image, or None.
        channels: Names of the channels, or empty to take the file's.
        facts: Clinical facts without identifiers, in the order of the columns, then of the metadata file.
        role: atlas, calibration, test or ''.
    """

    region: str
    patient: str
    mif: Path
    he: Path | None
    mpp_mif: float | None
    mpp_he: float | None
    channels: tuple[str, ...]
    facts: dict[str, str]
    role: str


def read_regions(folder: Path) -> tuple[RegionPair, ...]:
    """Read `regions.csv` of a folder.

    Raises:
        UnreadableDatasetError: It is missing or malformed, names a region twice or an image that is not there, or
            gives regions of one patient different roles.
    """
    if not (folder / REGIONS_FILE).is_file():
        raise UnreadableDatasetError(
            f"{folder.name} has no {REGIONS_FILE}. It needs at least the columns region and mif; see "
            "docs/guides/atlas.md."
        )
    pairs = tuple(_pair(folder, row) for row in read_rows(folder / REGIONS_FILE, ("region", "mif")))
    names = [pair.region for pair in pairs]
    if not pairs or len(set(names)) < len(names):
        raise UnreadableDatasetError(f"{REGIONS_FILE} names no region, or one twice.")
    roles: dict[str, str] = {}
    for pair in pairs:
        if roles.setdefault(pair.patient, pair.role) != pair.role:
            raise UnreadableDatasetError(
                f"{REGIONS_FILE} gives regions of one patient two roles. A patient may have one role only, or what is "
                "measured on the one would be known from the other."
            )
    return pairs


def _pair(folder: Path, row: dict[str, str]) -> RegionPair:
    region = row["region"]
    if not region or any(character in region for character in "/\\\0"):
        raise UnreadableDatasetError(f"{REGIONS_FILE} has a row without a region's name, or with a '/' in it.")
    metadata = read_metadata(folder / row["metadata"]) if row.get("metadata") else {}
    facts = {key: value for key, value in row.items() if key not in KNOWN_COLUMNS and value}
    return RegionPair(
        region=region,
        patient=row.get("patient") or patient_of(region, metadata, {}),
        mif=_image(folder, row["mif"], region),
        he=_image(folder, row["he"], region) if row.get("he") else None,
        mpp_mif=_mpp(row.get("mpp_mif", ""), region),
        mpp_he=_mpp(row.get("mpp_he", ""), region),
        channels=tuple(name.strip() for name in row.get("channels", "").split(";") if name.strip()),
        facts=clean_facts({**facts, **metadata}),
        role=row.get("role", ""),
    )


def _image(folder: Path, name: str, region: str) -> Path:
    path = folder / name
    if not name or not path.exists():
        raise UnreadableDatasetError(f"The image {name or '(none)'} of the region {region} is not in {folder.name}.")
    return path


def _mpp(text: str, region: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 < value <= 100:
        raise UnreadableDatasetError(f"The region {region} has a resolution that is no number of µm per pixel: {text}.")
    return value
