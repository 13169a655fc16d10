"""Engines for this machine: variants of a tower's graph, and what is built of them. torch is not needed here."""
