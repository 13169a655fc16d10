"""The marker names of the published model."""

from __future__ import annotations

from typing import Final

_IN_FILE_ORDER = """
    S100A4 CD16 Perforin Olig2 FAP CollagenIV CD15 TIM3 CD207 CD25 PDL1 Vimentin CD38 CD62L RORgammaT Siglec8 PD1 pSTAT3
    CD49 CD107a CD127 CD14 CD140b CD20 CD152 CD56 TFAM ICOS CD138 F4_80 p16 Gal3 ERa CD206 IFNg XCR1 BCL2 Keratin8_18
    EpCAM CD134 CD79 ECad CD44 CD57 Tbet CD183 HLA-ABC INOS GranzymeB PNAD DAPI CD31 CD197 PanCK Clusterin HLA-E CD69
    Nestin CD66 PGP9_5 CD34 GATA3 CD40 CD19 VISTA FoxP3 CD45 Caveolin1 CD45RA BCL6 CD11b CD117 CD3e CD163 MPO IDO1 CD47
    LYVE1 CD39 TCRgammadelta LAG3 bCatenin CD137 Keratin14 PCNA Podoplanin HistoneH3p TIGIT CXCL13 CD45RO ATM CD196 Ki67
    CD90 CD66b CX3CR1 CD33 SOX10 TCF1 CD123 CD11c TOX CD4 aSMA CD8 CD209 CD141 Perlecan CD227 Tryptase CD21 CXCR5 CD194
    TMEM16A CD1c CD68 HLA-DR CD208 Keratin19 TP63 CD5 TCRb CD71 PGP9.5
"""

PUBLISHED_MARKERS: Final[tuple[str, ...]] = tuple(_IN_FILE_ORDER.split())
"""The 124 names of Haiku's vocabulary (2605.00925, published code, `src/configs/config.yaml`), in file order.

`PGP9_5` and `PGP9.5` are one marker written twice: the code replaces '.' by '_' before it looks a name up, so the
marker table has 123 vectors and only `PGP9_5` is ever used.
"""

LEARNED_MARKERS: Final = ("DAPI", "PanCK", "HistoneH3p")
"""Markers that are no single protein: their vector is learned, the others' come from a protein language model."""

MARKER_VECTOR_WIDTH: Final = 1152
"""Width of a marker's vector (Haiku's `config.json`, `embedding_dim`)."""
