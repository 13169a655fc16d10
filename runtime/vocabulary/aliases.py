"""Other names for the published markers, each with the reason why it may stand for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class AliasRule:
    """Names that mean a published marker.

    Attributes:
        marker: The published name.
        names: Other names for it. Case, blanks and '-', '_', '/' beside a letter don't matter.
        reason: Why they are the same for this model.
    """

    marker: str
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class AmbiguousName:
    """Names that are refused although they resemble a published marker.

    Attributes:
        names: The names.
        reason: What they could mean, or why the resemblance deceives.
    """

    names: tuple[str, ...]
    reason: str


_PUBLISHED = "alias rule of the published code (biomarker_name_mapping.json)"
_GENE = "gene, protein or CD name of the same molecule"
_SPELLING = "another spelling"
_STAIN = "the usual antibody or trade name in pathology"

ALIASES: Final[tuple[AliasRule, ...]] = (
    AliasRule("PanCK", ("Pan-Cytokeratin",), _PUBLISHED),
    AliasRule("PDL1", ("PD-L1",), _PUBLISHED),
    AliasRule("PD1", ("PD-1",), _PUBLISHED),
    AliasRule("FoxP3", ("FOXP3",), _PUBLISHED),
    AliasRule("CD152", ("CTLA4",), _PUBLISHED),
    AliasRule("CD137", ("41BB", "4-1BB"), _PUBLISHED),
    AliasRule("Ki67", ("Ki-67", "KI67"), _PUBLISHED),
    AliasRule("CD227", ("MUC1",), _PUBLISHED),
    AliasRule("CD90", ("THY1",), _PUBLISHED),
    AliasRule(
        "PanCK", ("CK", "panCytoK", "Cytokeratin", "AE1/AE3"), "a panel's only keratin stain is a keratin cocktail"
    ),
    AliasRule("DAPI", ("Hoechst", "Hoechst 33342"), "another DNA stain of the same nuclei; the model knows DAPI only"),
    AliasRule("CD8", ("CD8a", "CD8 alpha"), "clones for tissue bind the alpha chain"),
    AliasRule(
        "CD3e", ("CD3", "CD3 epsilon"), "clones for tissue bind the epsilon chain, the only CD3 chain of the model"
    ),
    AliasRule("CD79", ("CD79a", "CD79b"), "the two chains make one receptor and are expressed together"),
    AliasRule(
        "ERa", ("ER", "ER alpha", "ERα", "ESR1", "estrogen receptor"), "the receptor that pathology stains is alpha"
    ),
    AliasRule("aSMA", ("SMA", "alpha-SMA", "α-SMA", "ACTA2", "smooth muscle actin"), "smooth muscle's alpha actin"),
    AliasRule("ECad", ("E-Cadherin", "CDH1", "CD324"), _GENE),
    AliasRule("GranzymeB", ("GZMB", "GrzB", "Gran B"), _GENE),
    AliasRule("bCatenin", ("beta-Catenin", "β-Catenin", "b-Catenin1", "CTNNB1"), _GENE),
    AliasRule("PDL1", ("CD274", "B7-H1"), _GENE),
    AliasRule("PD1", ("CD279", "PDCD1"), _GENE),
    AliasRule("Ki67", ("MKI67",), _GENE),
    AliasRule("Ki67", ("MIB-1",), _STAIN),
    AliasRule("CD152", ("CTLA-4",), _SPELLING),
    AliasRule("CD137", ("TNFRSF9",), _GENE),
    AliasRule("CD134", ("OX40", "TNFRSF4"), _GENE),
    AliasRule("CD227", ("MUC-1",), _SPELLING),
    AliasRule("CD90", ("THY-1",), _SPELLING),
    AliasRule("CD117", ("c-KIT", "KIT"), _GENE),
    AliasRule("CD56", ("NCAM", "NCAM1"), _GENE),
    AliasRule("CD57", ("HNK-1",), _STAIN),
    AliasRule("CD31", ("PECAM1", "PECAM-1"), _GENE),
    AliasRule("CD20", ("MS4A1",), _GENE),
    AliasRule("CD45", ("PTPRC", "LCA"), _GENE),
    AliasRule("CD138", ("Syndecan-1", "SDC1"), _GENE),
    AliasRule("CD66b", ("CEACAM8",), _GENE),
    AliasRule("CD71", ("TFRC", "transferrin receptor"), _GENE),
    AliasRule("LAG3", ("LAG-3", "CD223"), _GENE),
    AliasRule("TIM3", ("TIM-3", "HAVCR2", "CD366"), _GENE),
    AliasRule("ICOS", ("CD278",), _GENE),
    AliasRule("VISTA", ("VSIR", "B7-H5"), _GENE),
    AliasRule("IDO1", ("IDO",), "the form that tissue antibodies are made for"),
    AliasRule("IFNg", ("IFN-gamma", "IFNγ", "interferon gamma"), _SPELLING),
    AliasRule("INOS", ("NOS2",), _GENE),
    AliasRule("Perforin", ("PRF1",), _GENE),
    AliasRule("Keratin8_18", ("Keratin 8/18", "CK8/18", "KRT8/18", "Cytokeratin 8/18", "K8/18"), _SPELLING),
    AliasRule("Keratin8_18", ("CAM5.2",), _STAIN),
    AliasRule("Keratin14", ("CK14", "KRT14", "K14", "Cytokeratin 14"), _GENE),
    AliasRule("Keratin19", ("CK19", "KRT19", "K19", "Cytokeratin 19"), _GENE),
    AliasRule("EpCAM", ("CD326", "Ber-EP4"), _GENE),
    AliasRule("Vimentin", ("VIM",), _GENE),
    AliasRule("CollagenIV", ("Collagen IV", "Collagen 4", "Col IV", "COL4A1"), _GENE),
    AliasRule("Podoplanin", ("PDPN", "D2-40"), _GENE),
    AliasRule("TP63", ("p63",), _GENE),
    AliasRule("p16", ("p16INK4a",), _GENE),
    AliasRule("RORgammaT", ("RORgt", "RORγt"), _SPELLING),
    AliasRule("HistoneH3p", ("pHH3", "phospho-histone H3", "pHistone H3"), _SPELLING),
    AliasRule("pSTAT3", ("phospho-STAT3",), _SPELLING),
    AliasRule("Tbet", ("TBX21",), _GENE),
    AliasRule("TCF1", ("TCF7",), "TCF7 is the gene of the T-cell factor 1"),
    AliasRule("HLA-ABC", ("HLA class I", "MHC class I", "MHC I"), "the clones for tissue bind HLA-A, -B and -C"),
    AliasRule("PGP9_5", ("UCHL1",), _GENE),
    AliasRule("F4_80", ("ADGRE1", "EMR1"), _GENE),
    AliasRule("Gal3", ("Galectin-3", "LGALS3"), _GENE),
    AliasRule("CXCR5", ("CD185",), _GENE),
    AliasRule("CD183", ("CXCR3",), _GENE),
    AliasRule("CD194", ("CCR4",), _GENE),
    AliasRule("CD196", ("CCR6",), _GENE),
    AliasRule("CD197", ("CCR7",), _GENE),
    AliasRule("CD62L", ("L-selectin", "SELL"), _GENE),
    AliasRule("CD25", ("IL2RA",), _GENE),
    AliasRule("CD127", ("IL7R", "IL7RA"), _GENE),
    AliasRule("CD123", ("IL3RA",), _GENE),
    AliasRule("CD206", ("MRC1",), _GENE),
    AliasRule("CD207", ("Langerin",), _GENE),
    AliasRule("CD208", ("DC-LAMP", "LAMP3"), _GENE),
    AliasRule("CD209", ("DC-SIGN",), _GENE),
    AliasRule("CD107a", ("LAMP1", "LAMP-1"), _GENE),
    AliasRule("CD141", ("Thrombomodulin", "BDCA-3"), _GENE),
    AliasRule("CD11b", ("ITGAM", "Mac-1"), _GENE),
    AliasRule("CD11c", ("ITGAX",), _GENE),
    AliasRule("CD16", ("FCGR3A",), _GENE),
    AliasRule("CD39", ("ENTPD1",), _GENE),
    AliasRule("CD15", ("Lewis X", "SSEA-1"), _GENE),
    AliasRule("CD21", ("CR2",), _GENE),
    AliasRule("CD140b", ("PDGFRB",), _GENE),
    AliasRule("MPO", ("myeloperoxidase",), _SPELLING),
    AliasRule("Tryptase", ("TPSAB1",), _GENE),
    AliasRule("TMEM16A", ("ANO1", "DOG1"), _GENE),
    AliasRule("S100A4", ("FSP1",), _GENE),
    AliasRule("Perlecan", ("HSPG2",), _GENE),
    AliasRule("Caveolin1", ("CAV1",), _GENE),
    AliasRule("Clusterin", ("CLU",), _GENE),
    AliasRule("TCRgammadelta", ("TCRgd", "TCRγδ", "TCR gamma delta"), _SPELLING),
    AliasRule("TCRb", ("TCR beta", "TCRβ"), _SPELLING),
)
"""The first rules are the published ones; a panel's report of renamed channels says which rule was used."""

AMBIGUOUS: Final[tuple[AmbiguousName, ...]] = (
    AmbiguousName(("Keratin", "KRT"), "PanCK, Keratin8_18, Keratin14 and Keratin19 are different markers"),
    AmbiguousName(("CD11",), "CD11b and CD11c are different markers"),
    AmbiguousName(("CD45R",), "CD45RA, CD45RO and B220 are different forms of CD45"),
    AmbiguousName(("CD62",), "only CD62L is known; CD62E and CD62P are other selectins"),
    AmbiguousName(("CD140", "PDGFR"), "only CD140b is known; CD140a is another receptor"),
    AmbiguousName(
        ("CD49a", "CD49b", "CD49c", "CD49d", "CD49e", "CD49f"), "the published CD49 does not say which chain"
    ),
    AmbiguousName(("CD66a", "CD66c", "CD66e", "CEA", "CEACAM5"), "CD66 does not say which members; only CD66b is sure"),
    AmbiguousName(("CD44v6",), "a splice variant of CD44, expressed elsewhere than CD44"),
    AmbiguousName(("HLA", "MHC"), "HLA-ABC, HLA-DR and HLA-E are different markers"),
    AmbiguousName(("MHC class II", "MHC II", "HLA-DP", "HLA-DQ"), "class II is DP, DQ and DR; only HLA-DR is known"),
    AmbiguousName(
        ("Granzyme", "GZMA", "GZMK", "GranzymeA", "GranzymeK"), "only GranzymeB is known; others are other enzymes"
    ),
    AmbiguousName(("Collagen", "CollagenI", "CollagenIII"), "only CollagenIV is known; others are other proteins"),
    AmbiguousName(("Cadherin", "N-Cadherin", "pan-cadherin"), "only ECad is known; others are other proteins"),
    AmbiguousName(("TCR", "TCRab"), "TCRb and TCRgammadelta are different markers"),
    AmbiguousName(("p53", "TP53"), "p53 and TP63 are different proteins; the model does not know p53"),
    AmbiguousName(("p40",), "a form of TP63, or of interleukin 12"),
    AmbiguousName(("CDKN2A",), "the gene of p16 and of p14ARF"),
    AmbiguousName(("S100", "S100B"), "S100A4 is another protein than the S100 that pathology stains"),
    AmbiguousName(("STAT3",), "pSTAT3 is the phosphorylated form only"),
    AmbiguousName(("Histone H3", "HH3"), "HistoneH3p is the phosphorylated form only"),
    AmbiguousName(("actin",), "aSMA is the actin of smooth muscle only"),
    AmbiguousName(("PDL2", "PD-L2"), "PDL1 and PDL2 are different proteins"),
)
"""Names that no rule may guess. A vector of their own can be added: `vectors.add_marker`."""
