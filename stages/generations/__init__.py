"""Generations: a network plays, what it played is learnt from, and a match says whether the new one takes its place.

There is no cycle: generation 2 depends on what generation 1 left, and so on, as far as data/generations/list.yaml goes,
which `make iterate` lengthens. Its stages are those of the dvc.yaml
beside that list, a module each: `selfplay`, `ingest`, `learn` and
`gate`. What is the dataset's own, settings and games, is in stages/datasets/<dataset>/training/generation.py.
"""
