"""`python -m haiku_edge.cli`: the same as the `haiku-edge` command."""

from .app import main

main()
