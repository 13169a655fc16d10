"""What if the notes said something else: the same tissue, other facts, and what the evidence then shows."""

from __future__ import annotations

from .analyse import Analysis, Tiles, analyse
from .changes import Changes, describe_changes
from .composition import Composition, decompose
from .edits import Edit, EditedNotes, apply_sets, edit_notes, parse_sets
from .fusion import FUSIONS, Fusion, Ranked, Search, rank_evidence
from .niches import k_means
from .null import NullDistribution, random_edits
from .options import CounterfactualOptions
from .prevalence import prevalence
from .run import Counterfactual, counterfactual
from .schema import EXPLORATORY, CounterfactualResult
from .texts import embed_prompts

__all__ = [
    "EXPLORATORY",
    "FUSIONS",
    "Analysis",
    "Changes",
    "Composition",
    "Counterfactual",
    "CounterfactualOptions",
    "CounterfactualResult",
    "Edit",
    "EditedNotes",
    "Fusion",
    "NullDistribution",
    "Ranked",
    "Search",
    "Tiles",
    "analyse",
    "apply_sets",
    "counterfactual",
    "decompose",
    "describe_changes",
    "edit_notes",
    "embed_prompts",
    "k_means",
    "parse_sets",
    "prevalence",
    "random_edits",
    "rank_evidence",
]
