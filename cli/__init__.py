"""The command line. Holds no logic that a library user would want; imports what a command needs only when it runs."""

from .app import main

__all__ = ["main"]
