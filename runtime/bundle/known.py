"""Whom a bundle's towers learned from: digests of names, so that nobody calibrates a model that knows him."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import BundleContentError
from ..notice import RESEARCH_USE_ONLY
from .open import Bundle

_WHAT = "SHA-256 of the UTF-8 name of each patient that the weights were trained on, or chosen by"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Document(BaseModel):
    """`patients.json`, beside weights and in a bundle. Without `complete` nobody said that there are no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    notice: str = ""
    what: str = ""
    complete: bool = False
    train: tuple[Sha256, ...]
    held_out: tuple[Sha256, ...]


def patient_digest(name: str) -> str:
    """SHA-256 of a patient's name in UTF-8, as hexadecimal digits.

    There is no salt, so that whoever has a name can see whether a model knows it, in whichever dataset it stands. It
    keeps names from being read by chance, no more: a short pseudonym can be guessed.
    """
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KnownPatients:
    """Patients that weights have seen, as digests. Without arguments: whom they have seen is not known.

    Attributes:
        train: Patients learned from, each once, sorted.
        held_out: Patients that judged, and so chose the weights that were kept; likewise.
        complete: False where the weights may have seen others too, as where they began as a published checkpoint.
    """

    train: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    complete: bool = False

    @classmethod
    def of_names(cls, train: Iterable[str], held_out: Iterable[str] = ()) -> Self:
        """These patients and no others."""
        return cls(_digests(train), _digests(held_out), complete=True)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read the bytes of `patients.json`, or of its part in `run.json`.

        Raises:
            ValueError: They are no such file.
        """
        document = _Document.model_validate_json(data)
        return cls(document.train, document.held_out, document.complete)

    def __bool__(self) -> bool:
        """Whether anything at all is known."""
        return self.complete or bool(self.train or self.held_out)

    def with_earlier(self, earlier: KnownPatients) -> KnownPatients:
        """These and those of the training that this one went on from."""
        train = tuple(sorted({*self.train, *earlier.train}))
        held_out = tuple(sorted({*self.held_out, *earlier.held_out}))
        return KnownPatients(train, held_out, self.complete and earlier.complete)

    def among(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the named patients that the weights have seen, each once, sorted."""
        seen = {*self.train, *self.held_out}
        return tuple(sorted(name for name in set(names) if patient_digest(name) in seen))

    def as_json(self) -> dict[str, bool | list[str]]:
        """As `run.json` holds them."""
        return {"complete": self.complete, "train": list(self.train), "held_out": list(self.held_out)}

    def to_json(self) -> bytes:
        """The bytes of `patients.json`."""
        document = {"notice": RESEARCH_USE_ONLY, "what": _WHAT, **self.as_json()}
        return (json.dumps(document, indent=1) + "\n").encode()


def read_known_patients(bundle: Bundle) -> KnownPatients:
    """The patients that a bundle's towers have seen, as far as it says.

    Raises:
        BundleContentError: The file is malformed, or not what the manifest says of it.
    """
    section = bundle.manifest.training
    if section is None:
        return KnownPatients()
    try:
        known = KnownPatients.from_json(bundle.read(section.file))
    except ValidationError:
        raise BundleContentError(
            f"{section.file} of the bundle is no list of digests. Export the bundle again."
        ) from None
    stated = (section.patients, section.held_out, section.complete)
    if stated != (len(set(known.train)), len(set(known.held_out)), known.complete):
        raise BundleContentError(
            f"{section.file} of the bundle names other patients than its manifest counts. Export the bundle again."
        )
    return known


def _digests(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({patient_digest(name) for name in names}))
