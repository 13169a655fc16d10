"""Whole-slide images: opened by the reader whose pixels can be trusted, and cut into tiles of tissue."""

from .digest import slide_digest
from .grid import TileGrid, TilePlan, plan_tiles, round_half_up
from .open import open_slide
from .overview import Overview, read_overview
from .quality import is_blurred
from .region import read_region
from .stain import Stain, check_stain
from .stream import TileStream
from .tissue import Masks, find_folds, find_masks, find_pen, find_tissue
from .types import Level, Resolution, Slide, SlideInfo, UnreadableTileError
from .workers import Batch

__all__ = [
    "Batch",
    "Level",
    "Masks",
    "Overview",
    "Resolution",
    "Slide",
    "SlideInfo",
    "Stain",
    "TileGrid",
    "TilePlan",
    "TileStream",
    "UnreadableTileError",
    "check_stain",
    "find_folds",
    "find_masks",
    "find_pen",
    "find_tissue",
    "is_blurred",
    "open_slide",
    "plan_tiles",
    "read_overview",
    "read_region",
    "round_half_up",
    "slide_digest",
]
