"""Put heads into a bundle: a new bundle is written, the old one stays."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from haiku_edge.runtime.atomic import make_directory
from haiku_edge.runtime.bundle import Bundle, Description, Manifest
from haiku_edge.runtime.errors import UsageError

from ..bundle import check_replaceable, write_bundle
from ..bundle_copy import carry_files
from .train import TrainedHead

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""As the manifest's schema has it."""


def add_heads(bundle: Bundle, heads: Sequence[TrainedHead], out: Path, *, force: bool = False) -> Manifest:
    """Write a bundle with the old one's parts and these heads.

    Args:
        bundle: The old bundle.
        heads: Heads that were trained on vectors of its towers.
        out: Folder of the new bundle.
        force: Replace an older bundle there.

    Returns:
        The new manifest.

    Raises:
        UsageError: See `check_addition`.
        OutputExistsError, DiskFullError, OutputNotWritableError: It can't be written.
        BundleAlteredError: The old bundle changed meanwhile; what is in `out` stays.
    """
    check_addition(bundle, [head.section.name for head in heads], out, force=force)
    stated = {name: getattr(bundle.manifest, name) for name in Description.model_fields}
    stated["heads"] = (*bundle.manifest.heads, *(head.section for head in heads))
    make_directory(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".copy") as folder:
        contents = carry_files(bundle, bundle.manifest.files, Path(folder))
        for head in heads:
            contents |= head.contents
        return write_bundle(out, Description(**stated), contents)


def check_addition(bundle: Bundle, names: Sequence[str], out: Path, *, force: bool = False) -> None:
    """Refuse names and places before hours of training, not after.

    Raises:
        UsageError: A name can't be one, or is taken, or `out` is the old bundle.
        OutputExistsError: Something is in `out` that is no bundle, or is one and `force` is off.
    """
    taken = {head.name for head in bundle.manifest.heads}
    for name in names:
        if not re.fullmatch(NAME_PATTERN, name):
            raise UsageError(
                f"{name!r} can't name a head: use up to 100 letters, digits, '.', '_' and '-'. Pass another --name."
            )
        if name in taken:
            raise UsageError(f"The bundle has a head {name!r} already. Give the new one another --name.")
    if out.resolve() == bundle.root:
        raise UsageError("The new bundle can't replace the one that it is made from. Name another folder with --out.")
    check_replaceable(out, force=force)
