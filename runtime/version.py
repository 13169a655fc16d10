"""Which haiku-edge this is."""

from __future__ import annotations

from importlib.metadata import version as _installed_version


def version() -> str:
    """The installed version, such as '0.1.0'."""
    return _installed_version("haiku-edge")


def product() -> str:
    """Name and version, as every output states them."""
    return f"haiku-edge {version()}"
