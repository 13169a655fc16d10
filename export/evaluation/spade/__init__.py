"""Evaluation of SPADE: does the mixture of experts say more than what it is made of?

Everything takes a `SpotCohort`: the same spots in several representations. The judged one ('SPADE') is compared with
the plain image features, one single expert on all data, and experts of random clusters, always on the same patients.
"""

from __future__ import annotations

from .draws import UNITS
from .expression import ExpressionResult, score_expression
from .few_shot import SHOTS, FewShotResult, score_few_shot
from .figures import expression_figures, few_shot_figures, routing_figures, slide_figures
from .join import join_representations, pool_cohorts
from .render import render_expression, render_few_shot, render_routing, render_slides
from .retrieval import Search
from .routing import RoutingResult, compare_routing
from .section import spade_section
from .slides import FOLDS, SlideResult, score_slide_survival, score_slides
from .spot_cohort import (
    FEATURES,
    ONE_EXPERT,
    RANDOM_CLUSTERS,
    SPADE,
    SpotCohort,
    read_spot_cohort,
    write_spot_cohort,
)
from .verdict import Gain, verdict

__all__ = [
    "FEATURES",
    "FOLDS",
    "ONE_EXPERT",
    "RANDOM_CLUSTERS",
    "SHOTS",
    "SPADE",
    "UNITS",
    "ExpressionResult",
    "FewShotResult",
    "Gain",
    "RoutingResult",
    "Search",
    "SlideResult",
    "SpotCohort",
    "compare_routing",
    "expression_figures",
    "few_shot_figures",
    "join_representations",
    "pool_cohorts",
    "read_spot_cohort",
    "render_expression",
    "render_few_shot",
    "render_routing",
    "render_slides",
    "routing_figures",
    "score_expression",
    "score_few_shot",
    "score_slide_survival",
    "score_slides",
    "slide_figures",
    "spade_section",
    "verdict",
    "write_spot_cohort",
]
