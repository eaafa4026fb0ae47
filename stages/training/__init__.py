"""Train a model on data/processed/<dataset>: the loop, its schedule, checkpoints and metrics; no dataset is known here.

What a dataset wants to learn is its `Task`, in stages/datasets/<dataset>/training/task.py. torch is in the extra
`train`. From top to bottom:

- `run`: one training, from a recipe to data/models/<dataset>/;
- `loop`: steps, evaluations, and all that has to be known to go on;
- `settings`, `schedule`, `optimiser`: what params.yaml says, the learning rate, who learns how fast;
- `feed`, `evaluate`: the batches, and metrics over a part;
- `checkpoint`, `identity`: where a killed training goes on, and what has to be the same for that;
- `weights`, `predictor`: what a training leaves, and its use::

    from stages.training import load_model

    model = load_model("splendor")
    answers = model(batch)  # NumPy in, NumPy out: probabilities by head, 0 for illegal classes

- `device`, `ranks`: CPU or GPU, and the processes of torchrun.
"""

from stages.training.predictor import Predictor, load_model

__all__ = ["Predictor", "load_model"]
