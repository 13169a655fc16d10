"""Simulated patients and tissue whose truth is known: H&E, multiplexed immunofluorescence, notes and survival."""

from .demo import Demo, write_demo
from .patch import Patches, patches, true_shift
from .patient import OUTCOME_FACTS, Biology, Patient, edit_patient, known_facts, log_hazard, simulate_cohort
from .region import Region, render_region
from .svs import write_svs
from .vocabulary import MARKERS, MPP

__all__ = [
    "MARKERS",
    "MPP",
    "OUTCOME_FACTS",
    "Biology",
    "Demo",
    "Patches",
    "Patient",
    "Region",
    "edit_patient",
    "known_facts",
    "log_hazard",
    "patches",
    "render_region",
    "simulate_cohort",
    "true_shift",
    "write_demo",
    "write_svs",
]
