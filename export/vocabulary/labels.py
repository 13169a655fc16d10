"""Class labels for zero-shot classification, and the sentences that ask for them.

Source: Haiku, 2605.00925, published code, notebook 04. Of its maps only some rows are known to this project (colon,
rectum and sigmoid are one class; breast cancer and breast disease are one); the others are made alike: synonyms of one
organ or one disease fall together, and a label that the map does not know is dropped, not guessed.
"""

from __future__ import annotations

import re
from typing import Final

DISEASE_TEMPLATES: Final = (
    "A codex region of {} disease.",
    "{}",
    "This sample shows {}.",
    "Histological finding: {}.",
    "The image presents {}.",
)
TISSUE_TEMPLATES: Final = (
    "A codex region of {} tissue.",
    "{}",
    "This sample shows {} tissue.",
    "Histological site: {}.",
    "The image presents {} tissue.",
)
"""Made like the published ones for diseases; the originals for tissues are not known to this project."""

TISSUES: Final[dict[str, tuple[str, ...]]] = {
    "Colon/Rectum": ("colon", "rectum", "sigmoid", "colorectal", "colon/rectum", "colorectum", "large intestine",
                     "cecum", "caecum", "rectosigmoid", "sigmoid colon", "ascending colon", "descending colon",
                     "transverse colon", "bowel", "large bowel"),
    "Small Intestine": ("small intestine", "small bowel", "duodenum", "jejunum", "ileum"),
    "Stomach": ("stomach", "gastric", "gastroesophageal junction"),
    "Esophagus": ("esophagus", "oesophagus"),
    "Breast": ("breast", "mammary gland"),
    "Lung": ("lung", "pulmonary", "bronchus"),
    "Head and Neck": ("head and neck", "head & neck", "oral cavity", "oropharynx", "larynx", "pharynx", "tongue"),
    "Tonsil": ("tonsil",),
    "Lymph Node": ("lymph node", "lymphnode", "ln"),
    "Spleen": ("spleen",),
    "Skin": ("skin", "cutis", "dermis"),
    "Kidney": ("kidney", "renal"),
    "Bladder": ("bladder", "urinary bladder"),
    "Prostate": ("prostate", "prostate gland"),
    "Liver": ("liver", "hepatic"),
    "Pancreas": ("pancreas", "pancreatic"),
    "Ovary": ("ovary", "ovarian"),
    "Uterus": ("uterus", "endometrium", "cervix", "uterine cervix"),
    "Brain": ("brain", "cerebrum", "cerebellum"),
    "Placenta": ("placenta",),
}  # fmt: skip
"""Class → labels that mean it, in small letters."""

DISEASES: Final[dict[str, tuple[str, ...]]] = {
    "Colorectal Cancer": ("colorectal cancer", "colon cancer", "rectal cancer", "crc", "colorectal carcinoma",
                          "colorectal adenocarcinoma", "colon adenocarcinoma", "rectal adenocarcinoma",
                          "colon carcinoma"),
    "Breast Cancer": ("breast cancer", "breast disease", "breast carcinoma", "tnbc", "triple negative breast cancer",
                      "invasive ductal carcinoma", "invasive lobular carcinoma", "ductal carcinoma of breast"),
    "Lung Cancer": ("lung cancer", "nsclc", "non-small cell lung cancer", "lung carcinoma", "lung adenocarcinoma",
                    "lung squamous cell carcinoma", "small cell lung cancer"),
    "Head and Neck Cancer": ("head and neck cancer", "hnscc", "head and neck squamous cell carcinoma", "oral cancer",
                             "head and neck carcinoma", "oropharyngeal cancer"),
    "Melanoma": ("melanoma", "malignant melanoma", "cutaneous melanoma", "metastatic melanoma"),
    "Kidney Cancer": ("kidney cancer", "renal cell carcinoma", "clear cell renal cell carcinoma", "rcc", "ccrcc"),
    "Bladder Cancer": ("bladder cancer", "urothelial carcinoma", "transitional cell carcinoma"),
    "Prostate Cancer": ("prostate cancer", "prostate adenocarcinoma", "prostatic adenocarcinoma"),
    "Liver Cancer": ("liver cancer", "hepatocellular carcinoma", "hcc"),
    "Pancreatic Cancer": ("pancreatic cancer", "pdac", "pancreatic ductal adenocarcinoma", "pancreatic adenocarcinoma"),
    "Ovarian Cancer": ("ovarian cancer", "ovarian carcinoma", "high grade serous ovarian cancer"),
    "Gastric Cancer": ("gastric cancer", "stomach cancer", "gastric adenocarcinoma", "stomach adenocarcinoma"),
    "Esophageal Cancer": ("esophageal cancer", "oesophageal cancer", "esophageal carcinoma"),
    "Glioblastoma": ("glioblastoma", "gbm", "glioblastoma multiforme"),
    "Lymphoma": ("lymphoma", "dlbcl", "diffuse large b-cell lymphoma", "diffuse large b cell lymphoma",
                 "follicular lymphoma", "hodgkin lymphoma"),
    "Healthy": ("healthy", "normal", "no disease", "benign"),
}  # fmt: skip
"""Class → labels that mean it, in small letters. Metastases stay with their primary's disease."""


def canon_tissue(label: str) -> str | None:
    """The tissue class of a label, or None where it is unknown or says nothing."""
    return _TISSUE_OF.get(_key(label))


def canon_disease(label: str) -> str | None:
    """The disease class of a label, or None where it is unknown or says nothing."""
    return _DISEASE_OF.get(_key(label))


def prompts(classes: tuple[str, ...], templates: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """One row of sentences per template, one sentence per class. Published scores are mean and deviation over rows."""
    return tuple(tuple(template.format(name) for name in classes) for template in templates)


def _key(label: str) -> str:
    return re.sub(r"[\s_]+", " ", label).strip().casefold()


_TISSUE_OF = {_key(label): name for name, labels in TISSUES.items() for label in (name, *labels)}
_DISEASE_OF = {_key(label): name for name, labels in DISEASES.items() for label in (name, *labels)}
