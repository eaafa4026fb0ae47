"""Commands beside each other: their shares of workers and memory."""

import pytest

from stages.pipeline import beside, verbs


@pytest.mark.parametrize("jobs", [1, 2, 16])
@pytest.mark.parametrize("memory_gb", [0.2, 1, 2.3, 8, 100])
def test_the_shares_of_all_that_run_at_once_are_within_the_budget(monkeypatch, jobs, memory_gb):
    monkeypatch.setenv("JOBS", str(jobs))
    monkeypatch.setenv("MEMORY_GB", str(memory_gb))
    shares = beside.shares([verbs.stage_name("process", "a", f"b{number:b}") for number in range(8, 20)])
    assert 1 <= shares.n_at_once <= min(jobs, 12)
    if shares.n_at_once > 1:
        needed_mb = shares.n_at_once * float(shares.variables["MEMORY_GB"]) * 1024 + beside.OWN_MB
        assert needed_mb <= memory_gb * 1024
        assert float(shares.variables["MEMORY_GB"]) * 1024 >= beside.LEAST_SHARE_MB - 1
        assert int(shares.variables["JOBS"]) * shares.n_at_once >= jobs


def test_a_small_budget_is_not_divided(monkeypatch):
    monkeypatch.setenv("JOBS", "8")
    monkeypatch.setenv("MEMORY_GB", "1")
    names = [verbs.stage_name("process", "a", batch) for batch in ("b0", "b1")]
    assert beside.shares(names).n_at_once == 1
