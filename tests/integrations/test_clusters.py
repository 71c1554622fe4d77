"""Sweeps and searches on a cluster of Dask's, by joblib's configuration alone."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

import tensormoe as tm
from tensormoe import explore

joblib = pytest.importorskip("joblib")
distributed = pytest.importorskip("distributed")

LAYER = tm.MuMoESpec(6, 4, 3, tm.Dense(), bias=False)
EXPERTS = np.random.default_rng(0).normal(size=(3, 6, 4))


@pytest.fixture(scope="module")
def workers() -> Iterator[set[int]]:
    """The processes of a cluster on this machine."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.Client(**options) as client, joblib.parallel_config(backend="dask"):
        yield {*client.run(os.getpid).values()}


def say_process(spec: tm.MuMoESpec, seed: int) -> float:
    return float(os.getpid())


def test_candidates_are_tried_on_the_cluster(workers: set[int]) -> None:
    families = [tm.CP(rank) for rank in range(1, 5)]
    study = explore.sweep(families, task=explore.train_with(say_process), like=LAYER, jobs=None)
    assert {trial.values["loss"] for trial in study.trials} <= workers
    assert len(workers) == 2


def test_searches_and_fits_run_on_the_cluster_as_here(workers: set[int]) -> None:
    pytest.importorskip("optuna")
    families, task = [tm.CP(2), tm.TensorNetwork("n o, i o")], explore.fit_to(EXPERTS, iterations=5)
    alone, apart = (explore.sweep(families, None, task, like=LAYER, jobs=jobs) for jobs in (1, None))
    assert [trial.values for trial in alone.trials] == [trial.values for trial in apart.trials]
    task, space = explore.train_with(say_process), explore.Space(LAYER, ranks=2)
    found = explore.search(None, task, space, method="greedy", trials=6, workers=None)
    # A batch of one, as the first, is tried where the search runs.
    assert {trial.values["loss"] for trial in found.complete} <= {*workers, float(os.getpid())}
    assert len(found.complete) == 6
