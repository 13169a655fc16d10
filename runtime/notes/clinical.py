"""Which facts may be repeated in an output: those whose key is a known clinical one.

The tower reads every accepted fact. An output goes further than the run (a report is passed on), so it repeats only
facts under the keys of this table; a key that someone made up may hold anything, and is only counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from .keys import key_words


@dataclass(frozen=True, slots=True)
class ShownKeys:
    """Keys whose facts may be repeated.

    Attributes:
        reason: Why they identify nobody.
        keys: In small letters; case, blanks, `_` and `-` are not compared.
    """

    reason: str
    keys: tuple[str, ...]


SHOWN_KEYS = (
    ShownKeys(
        "The organ and the disease lead the paper's prompt; both come from short lists that millions of people share.",
        ("tissue type", "tissue", "organ", "site", "primary site", "anatomic site", "disease", "diagnosis",
        "cancer type",
         "tumor type", "tumour type", "type", "sample type", "histology", "histologic type", "histological type",
         "subtype", "molecular subtype", "histologic subtype", "laterality", "side"),
    ),
    ShownKeys(
        "Sex, and age in years with all above 89 as one group, are what HIPAA's safe harbour lets stand.",
        ("sex", "gender", "age", "age at diagnosis", "age years", "age in years", "age group"),
    ),
    ShownKeys(
        "Extent and grade are classes of a published scheme with a few dozen values.",
        ("tnm", "t", "n", "m", "pt", "pn", "pm", "ct", "cn", "cm", "ypt", "ypn", "t stage", "n stage", "m stage",
         "t category", "n category", "m category", "pathologic t", "pathologic n", "pathologic m", "stage",
         "tumor stage",
         "ajcc stage", "ajcc pathologic stage", "clinical stage", "pathologic stage", "figo stage", "grade",
         "tumor grade", "tumour grade", "histologic grade", "nuclear grade", "gleason", "gleason score",
         "differentiation"),
    ),
    ShownKeys(
        "Outcome as alive or dead and as a length of time; a date is left out by its value.",
        ("survival status", "vital status", "survival", "survival time", "survival months", "survival days",
         "overall survival", "overall survival months", "os", "os months", "os status", "pfs", "pfs months", "dfs",
         "dfs months", "date to death months", "days to death", "months to death", "follow up months", "recurrence",
         "relapse", "progression", "response", "treatment response"),
    ),
    ShownKeys(
        "Results of common tests, as a class or a share of cells.",
        ("mmr", "mmr status", "msi", "msi status", "er", "er status", "pr", "pr status", "her2", "her2 status", "ki67",
         "pdl1", "pdl1 status", "hpv", "hpv status", "p16", "p16 status", "ebv", "ebv status", "egfr", "kras", "braf",
         "idh1", "alk", "ros1"),
    ),
    ShownKeys(
        "Kinds of treatment are shared by everyone with the disease.",
        ("treatment", "treatment type", "therapy", "chemotherapy", "radiotherapy", "immunotherapy", "neoadjuvant",
         "adjuvant"),
    ),
    ShownKeys(
        "Size and spread of the tumour are small numbers.",
        ("tumor size", "tumour size", "lymph nodes", "nodes positive", "lymphovascular invasion", "perineural invasion",
         "margin", "margins", "smoking status"),
    ),
)  # fmt: skip


def is_shown(key: str) -> bool:
    """Whether the facts under a key may be repeated in an output.

    Examples:
        >>> is_shown("tissue_type"), is_shown("PD-L1"), is_shown("remark")
        (True, True, False)
    """
    return _joined(key) in _SHOWN


def _joined(key: str) -> str:
    return "".join(key_words(key))


_SHOWN = frozenset(_joined(key) for group in SHOWN_KEYS for key in group.keys)
