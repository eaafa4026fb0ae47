"""What a training leaves, for tests of what is shown of it; no torch is needed."""

import json

ABOUT = {
    "headlines": [
        {"name": "accuracy", "is_higher_better": True, "threshold": None},
        {"name": "nll", "is_higher_better": False, "threshold": None},
    ],
    "step": 20,
    "n_steps": 30,
    "samples": 2560,
    "epoch": 1.5,
    "n_parameters": 1234,
    "params": {"lr": 0.001, "model": {"widths": [8]}},
    "identity": "0123456789abcdef",
    "data": {"data/processed/splendor": "ab" * 32},
    "code": {"core": "cd" * 32},
    "versions": {"torch": "2.13.0"},
    "threads": 1,
    "cpu": "a <processor>",
}
OF_PART = {
    "model": {"accuracy": 0.5, "nll": 0.25},
    "coin": {"accuracy": 0.5, "nll": 0.7},
    "majority": {"accuracy": 0.4},
}
FIGURES = [
    {
        "kind": "confusion",
        "title": "Actions",
        "doc": "Which.",
        "classes": ["go", "stay", "never"],
        "counts": [[3, 1, 0], [0, 6, 0], [0, 0, 0]],
    },
    {
        "kind": "agreement",
        "title": "Calibration",
        "doc": "How often.",
        "quantity": "probability",
        "bins": [[10, 0.25, 0.2], [30, 0.75, 0.8]],
    },
]
CURVE = """step,samples,lr,train_loss,val_loss,val_accuracy,val_nll
10,1280,0.001,1.5,1.25,0.25,1.25
20,2560,0.001,1.0,0.5,0.5,0.5
30,3840,0.001,0.5,0.75,,0.75
"""


def write_model_files(data, dataset="splendor"):
    """Write all of it below a folder `data`."""
    content = {"val": OF_PART, "test": OF_PART, "best_step": 20, "steps": 30, "samples": 3840}
    for name, text in {
        "models/{}/model.json": json.dumps({"dataset": dataset, **ABOUT}),
        "train/{}/metrics.json": json.dumps(content),
        "train/{}/figures.json": json.dumps(FIGURES),
        "curves/{}/curve.csv": CURVE,
    }.items():
        path = data / name.format(dataset)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
