"""Which markers the notes name: a prediction may then only repeat what it was told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from .types import Notes

# Names for the same marker, as reports write them. The first of each group is Haiku's own name (vocabulary and alias
# rules of the published code); a bundle may use any of them.
ALIASES: tuple[tuple[str, ...], ...] = (
    ("PDL1", "PD-L1", "CD274", "B7-H1", "programmed death ligand 1"),
    ("PD1", "PD-1", "CD279", "PDCD1"),
    ("Ki67", "Ki-67", "MKI67", "MIB-1", "proliferation index"),
    ("FoxP3", "FOXP3", "regulatory T cell", "regulatory T cells"),
    ("CD152", "CTLA4", "CTLA-4"),
    ("CD137", "41BB", "4-1BB", "TNFRSF9"),
    ("CD134", "OX40"),
    ("CD227", "MUC1", "MUC-1"),
    ("CD90", "THY1", "THY-1"),
    ("CD117", "c-KIT", "KIT"),
    ("CD56", "NCAM", "NCAM1"),
    ("CD57", "B3GAT1"),
    ("CD31", "PECAM1", "PECAM-1"),
    ("CD20", "MS4A1", "L26"),
    ("CD3e", "CD3", "CD3E"),
    ("CD8", "CD8a", "CD8A"),
    ("CD79", "CD79a", "CD79b"),
    ("CD138", "Syndecan-1", "SDC1"),
    ("CD45", "LCA", "PTPRC"),
    ("CD66", "CD66b", "CEACAM8"),
    ("CD71", "TFRC", "transferrin receptor"),
    ("LAG3", "LAG-3", "CD223"),
    ("TIM3", "TIM-3", "HAVCR2"),
    ("IDO1", "IDO", "IDO-1"),
    ("GranzymeB", "Granzyme B", "GZMB"),
    ("IFNg", "IFN-gamma", "interferon gamma"),
    ("INOS", "iNOS", "NOS2"),
    ("PanCK", "Pan-CK", "Pan-Cytokeratin", "Pancytokeratin", "Cytokeratin", "AE1/AE3", "CK", "Keratin"),
    ("Keratin8_18", "Keratin 8/18", "CK8/18", "Cytokeratin 8/18", "CAM5.2"),
    ("Keratin14", "CK14", "Cytokeratin 14", "KRT14"),
    ("Keratin19", "CK19", "Cytokeratin 19", "KRT19"),
    ("EpCAM", "CD326", "Ber-EP4"),
    ("ECad", "E-Cadherin", "ECadherin", "CDH1"),
    ("bCatenin", "beta-Catenin", "b-catenin", "CTNNB1"),
    ("aSMA", "SMA", "alpha-SMA", "smooth muscle actin", "ACTA2"),
    ("Vimentin", "VIM"),
    ("CollagenIV", "Collagen IV", "Collagen 4", "COL4A1"),
    ("Podoplanin", "D2-40", "PDPN"),
    ("ERa", "ER", "ER alpha", "ESR1", "estrogen receptor", "oestrogen receptor"),
    ("PR", "PgR", "progesterone receptor"),
    ("HER2", "HER-2", "ERBB2", "HER2/neu", "c-erbB-2"),
    ("TP63", "p63", "p40"),
    ("p53", "TP53"),
    ("p16", "p16INK4a", "CDKN2A"),
    ("BCL2", "BCL-2"),
    ("BCL6", "BCL-6"),
    ("GATA3", "GATA-3"),
    ("SOX10", "SOX-10"),
    ("Tbet", "T-bet", "TBX21"),
    ("TCF1", "TCF-1", "TCF7"),
    ("RORgammaT", "ROR gamma t", "RORgt", "RORC"),
    ("HistoneH3p", "pHH3", "phospho-histone H3"),
    ("pSTAT3", "phospho-STAT3"),
    ("HLA-DR", "HLADR", "MHC class II", "MHC II"),
    ("HLA-ABC", "HLAABC", "MHC class I", "MHC I"),
    ("PGP9_5", "PGP9.5", "UCHL1"),
    ("F4_80", "F4/80"),
    ("Gal3", "Galectin-3", "LGALS3"),
    ("LYVE1", "LYVE-1"),
    ("CXCR5", "CD185"),
    ("CD183", "CXCR3"),
    ("CD194", "CCR4"),
    ("CD196", "CCR6"),
    ("CD197", "CCR7"),
    ("CD62L", "L-selectin", "SELL"),
    ("CD25", "IL2RA"),
    ("CD127", "IL7R"),
    ("CD206", "MRC1"),
    ("CD140b", "PDGFRB"),
    ("MPO", "myeloperoxidase"),
    ("Tryptase", "TPSAB1"),
    ("TMEM16A", "DOG1", "ANO1"),
    ("S100A4", "FSP1"),
)

# A name of at most this many letters is also an ordinary word in some language: in running text capitals must match.
_SHORT = 3
_PIECES = re.compile(r"[^\W\d_]+|\d+")


def markers_named(notes: Notes, markers: Sequence[str]) -> tuple[str, ...]:
    """Find the markers that the notes name, by their own name or an alias.

    Args:
        notes: The notes, facts or free text.
        markers: The bundle's marker names.

    Returns:
        Those of `markers` that the notes name, in their given order.
    """
    keys = [key for key, _ in notes.facts]
    values = [value for _, value in notes.facts] if notes.text is None else [notes.text]
    return tuple(marker for marker in markers if any(_named(name, keys, values) for name in _names(marker)))


def _names(marker: str) -> Iterable[str]:
    """A marker's own name and every alias of the groups that hold it."""
    wanted = _compact(marker)
    groups = [group for group in ALIASES if wanted in {_compact(name) for name in group}]
    return dict.fromkeys([marker, *(name for group in groups for name in group)])


def _named(name: str, keys: Sequence[str], values: Sequence[str]) -> bool:
    in_keys, in_text = _patterns(name)
    return any(in_keys.search(key) for key in keys) or any(in_text.search(value) for value in values)


@lru_cache(maxsize=4096)
def _patterns(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns for a fact's key and for running text: whole words, any single separator between letters and digits."""
    body = r"[\s_./-]?".join(re.escape(piece) for piece in _PIECES.findall(name))
    whole = rf"(?<![^\W_]){body}(?![^\W_])"
    exact = len(name) <= _SHORT and name.isalpha()
    return re.compile(whole, re.IGNORECASE), re.compile(whole, 0 if exact else re.IGNORECASE)


def _compact(name: str) -> str:
    return "".join(_PIECES.findall(name)).casefold()
