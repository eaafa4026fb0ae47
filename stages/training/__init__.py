"""Train a model on data/processed/<dataset>: the loop, its schedule, checkpoints and metrics; no dataset is known here.

What a dataset wants to learn is its `Task`, in stages/datasets/<dataset>/training/task.py. torch is in the extra
`train`.
"""
