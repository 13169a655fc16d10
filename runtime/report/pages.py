"""The HTML pages: one environment for all of them, and one skeleton, `page.html`, that each page fills.

A page is one file with everything inside: style, script and pictures stand in it, so that it opens offline.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, FunctionLoader, StrictUndefined

from . import numbers


def render(template: str, **content: object) -> str:
    """A page as HTML.

    Args:
        template: A file of the templates folder.
        content: What the template names; words in it are never taken for markup.

    Raises:
        jinja2.UndefinedError: The template names something that is not given.
    """
    return _environment().get_template(template).render(content)


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def words(name: str) -> str:
    """The name of a field as words."""
    return name.replace("_", " ")


_FILTERS: Final[tuple[Callable[..., str], ...]] = (
    numbers.plain,
    numbers.signed,
    numbers.count,
    numbers.percent,
    numbers.points,
    numbers.percentile,
    numbers.tenth,
    numbers.chance,
    numbers.anything,
    sentence,
    words,
)


def _read(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {own.__name__: own for own in _FILTERS}
    return environment
