"""The embedded default bundle, as package data, and nothing else."""
