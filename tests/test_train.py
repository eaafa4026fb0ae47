"""The train verb refuses in one line what it cannot do."""

import sys

import pytest

from stages.core.errors import ExpectedError
from stages.core.params import Params, build
from stages.train import train

PARAMS = build(Params, {"datasets": {"a": {"raw": "x"}, "abc": {"raw": "x"}}, "train": {"a": {}}}, "params.yaml: ")


def test_without_torch_it_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    with pytest.raises(ExpectedError, match=r"^torch: not installed, expected it for training; run `make train`$"):
        train(PARAMS, "a", print)


def test_a_dataset_without_an_entry_is_refused():
    with pytest.raises(ExpectedError, match="train: no entry 'abc', expected one of: a"):
        train(PARAMS, "abc", print)
    with pytest.raises(ExpectedError, match="no dataset 'b', expected one of: a, abc"):
        train(PARAMS, "b", print)
