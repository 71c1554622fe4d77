"""Searches: what they find, what they write down, and that processes share one and go on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.exploring import Budget, Space, Study, TaskResult, fit_to, search, train_with
from tensormoe.exploring.methods import METHODS

LAYER = tm.MuMoESpec(4, 5, 3, tm.Dense(), gate=None, bias=False)
LINES = Space(LAYER, max_cores=3, ranks=2, hyperedges=0, latent=0, carriers=False)


def plant(notation: str, layer: tm.MuMoESpec = LAYER, seed: int = 0, **sizes: int) -> np.ndarray:
    spec = layer.replace(factorization=tm.TensorNetwork(notation, **sizes))
    generator = np.random.default_rng(seed)
    cores = {name: generator.normal(size=shape) for name, shape in spec.network.shapes.items()}
    return tm.materialize(spec, cores)


def count(spec: tm.MuMoESpec, seed: int) -> float:
    """A task that costs nothing: how far the parameters are from 31."""
    return abs(spec.num_parameters - 31)


PLANTED = {
    "n r, i r, o r": {"r": 2},
    "n a b, i b c, o c a": {"a": 2, "b": 2, "c": 2},
    "n a, i a b, o b": {"a": 2, "b": 3},
    "n o, i o": {},
    "n r, i r s, o r s": {"r": 2, "s": 2},
    "n a, i b, o c, a b c": {"a": 2, "b": 2, "c": 2},
}


@pytest.mark.parametrize("notation", PLANTED)
def test_a_guided_search_finds_what_was_planted(notation: str) -> None:
    layer = tm.MuMoESpec(5, 6, 5, tm.Dense(), gate=None, bias=False)
    weight = plant(notation, layer, **PLANTED[notation])
    planted = layer.replace(factorization=tm.TensorNetwork(notation, **PLANTED[notation]))
    weights = {"error": 100, "parameters": 1 / weight.size}
    study = search(None, fit_to(weight), Space(layer, ranks=3), trials=25, weights=weights)
    exact = [trial for trial in study.trials if trial.values["error"] < 1e-5]
    assert min(trial.values["parameters"] for trial in exact) <= planted.num_parameters
    assert all(trial.proved and trial.verified for trial in study.front())


def test_a_guided_search_finds_a_kronecker_product_whatever_is_whole_at_first() -> None:
    """Another split of modes is no small move: what fits one does not fit the next."""
    layer = tm.MuMoESpec(4, 6, 4, tm.Dense(), gate=None, bias=False)
    planted = layer.replace(factorization=tm.TensorNetwork("n i1 o1, i2 o2 n", i=(2, 2), o=(3, 2)))
    generator = np.random.default_rng(0)
    cores = {name: generator.normal(size=shape) for name, shape in planted.network.shapes.items()}
    weight = tm.materialize(planted, cores)
    space = Space(layer, bonds=False, hyperedges=0, latent=0, splits={"i": [(2, 2)], "o": [(3, 2)]})
    weights = {"error": 100, "parameters": 1 / weight.size}
    study = search(None, fit_to(weight), space, trials=1, weights=weights)
    exact = [trial for trial in study.trials if trial.values["error"] < 1e-9]
    assert min(trial.values["parameters"] for trial in exact) <= planted.num_parameters


def test_a_guided_search_finds_what_experts_share_and_what_each_adds() -> None:
    """A low-rank matrix for all, and one for each: a term that one move could not make worth its while."""
    layer = tm.MuMoESpec(12, 16, 3, tm.Dense(), gate=None, bias=False)
    weight = plant("n i, n o + i a, o a", layer, a=3)
    space = Space(layer, max_cores=4, ranks=(3,), hyperedges=0, latent=0, carriers=("n",), sums=2)
    study = search(Budget(parameters=180), fit_to(weight), space, trials=4)
    best = study.best("error")
    assert best.values["error"] < 1e-9
    assert best.spec.num_parameters <= 3 * (12 + 16) + 3 * (12 + 16)


@pytest.mark.parametrize("method", [*METHODS, "evolution", "tpe"])
def test_every_method_tries_each_network_once_and_stays_in_the_budget(method: str) -> None:
    weight = plant("n a, i a b, o b", a=2, b=2)
    budget = Budget(parameters=40)
    study = search(budget, fit_to(weight, iterations=30), LINES, method=method, trials=6)
    keys = Counter(trial.key for trial in study.trials)
    assert 1 <= len(keys) <= 6
    assert max(keys.values()) == 1
    assert all(trial.spec.num_parameters <= 40 for trial in study.trials)
    assert all(trial.state == "complete" for trial in study.trials)


def test_an_exhaustive_search_finds_the_best_of_all() -> None:
    """All eight networks of pairs of bonds, by brute force."""
    sizes = {"a": 2, "b": 2, "c": 2}
    texts = ["n, i, o", "n a, i a, o", "n a, i, o a", "n, i a, o a", "n a b, i a, o b", "n a, i a b, o b"]
    texts += ["n a, i b, o a b", "n a b, i b c, o c a"]
    specs = [
        LAYER.replace(factorization=tm.TensorNetwork(text, **{k: v for k, v in sizes.items() if k in text}))
        for text in texts
    ]
    study = search(None, train_with(count), LINES, method="exhaustive", trials=100)
    assert {trial.key for trial in study.trials} == {tm.explore.canonical_key(each.network) for each in specs}
    assert study.best("loss").values["loss"] == min(count(each, 0) for each in specs)


def test_what_fails_is_written_down_and_the_search_goes_on() -> None:
    def fragile(spec: tm.MuMoESpec, seed: int) -> float:
        if spec.num_parameters == 12:
            raise RuntimeError("no luck")
        return float("nan") if spec.num_parameters < 25 else 1.0

    study = search(None, train_with(fragile), LINES, method="exhaustive")
    states = {trial.spec.num_parameters: (trial.state, trial.reason) for trial in study.trials}
    assert len(study.trials) == 8
    assert states[12] == ("failed", "RuntimeError: no luck")
    assert all("no finite number" in states[each][1] for each in states if 12 < each < 25)
    assert all(trial.spec.num_parameters >= 25 for trial in study.front())


def test_a_candidate_continues_from_the_values_of_one_that_is_near() -> None:
    """The task is given cores whose weight is that of the smaller network."""
    given: list[tuple[tm.MuMoESpec, np.ndarray | None]] = []

    class Remember:
        name, objective = "remember", "loss"

        def __call__(self, spec, seed, start=None) -> TaskResult:
            given.append((spec, None if start is None else tm.materialize(spec, start)))
            cores = {name: np.ones(shape) for name, shape in spec.network.shapes.items()}
            cores = cores if start is None else start
            return TaskResult(1 / spec.num_parameters, cores)

    search(None, Remember(), LINES, method="greedy", trials=4)
    first, *others = given
    assert first[1] is None
    assert len(others) == 3
    assert all(weight is not None and np.allclose(weight, 1) for _, weight in others)


def test_several_workers_find_what_one_finds() -> None:
    weight = plant("n a, i a b, o b", a=2, b=2)
    one, two = (
        search(None, fit_to(weight), LINES, method="exhaustive", workers=workers) for workers in (1, 2)
    )
    assert {trial.key: trial.values["error"] < 1e-9 for trial in one.trials} == {
        trial.key: trial.values["error"] < 1e-9 for trial in two.trials
    }


STORAGES = {"journal": "{}/search.log", "SQLite": "sqlite:///{}/search.db"}


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
def test_a_search_goes_on_from_its_storage_and_repeats_nothing(storage: str, tmp_path: Path) -> None:
    calls: list[str] = []

    def task(spec: tm.MuMoESpec, seed: int) -> float:
        calls.append(tm.explore.canonical_key(spec.network))
        return count(spec, seed)

    path = storage.format(tmp_path)
    once = search(None, train_with(task, name="count"), LINES, method="exhaustive", trials=3, storage=path)
    again = search(None, train_with(task, name="count"), LINES, method="exhaustive", storage=path)
    assert len(once.trials) == 3
    assert len(again.trials) == len(calls) == len({*calls}) == 8
    assert [each.key for each in again.trials][:3] == [each.key for each in once.trials]


def test_a_storage_of_another_search_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "search.log"
    search(None, train_with(count), LINES, trials=2, method="greedy", storage=path)
    before = path.read_bytes()
    other = Space(LAYER, max_cores=3, ranks=3, hyperedges=0, latent=0, carriers=False)
    for space, budget, named in ((other, None, "space"), (LINES, Budget(parameters=99), "budget")):
        with pytest.raises(tm.TensorMoEError, match=rf"storage.*another search \({named} differ"):
            search(budget, train_with(count), space, method="greedy", storage=path)
    notes = tmp_path / "notes.txt"
    notes.write_text("my notes\n")
    with pytest.raises(tm.TensorMoEError, match="storage"):
        search(None, train_with(count), LINES, method="greedy", storage=notes)
    assert path.read_bytes().startswith(before)
    assert notes.read_text() == "my notes\n"


def test_a_bar_counts_what_is_tried_and_begins_with_the_storage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, and only if asked for."""
    path = tmp_path / "search.log"
    search(None, train_with(count), LINES, method="exhaustive", trials=3, storage=path)
    assert capsys.readouterr().err == ""
    search(None, train_with(count), LINES, method="exhaustive", trials=5, storage=path, progress=True)
    shown = capsys.readouterr()
    assert "networks" in shown.err
    assert "5/5" in shown.err
    assert shown.out == ""


def test_a_study_of_others_is_refused(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    url = f"sqlite:///{tmp_path}/theirs.db"
    theirs = optuna.create_study(storage=url, study_name="tensormoe")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with pytest.raises(tm.TensorMoEError, match="no search of tensormoe"):
        search(None, train_with(count), LINES, method="greedy", storage=url)
    assert len(optuna.load_study(storage=url, study_name="tensormoe").trials) == 2


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"method": "magic"}, "method"),
        ({"method": "guided"}, "method"),
        ({"trials": 0}, "trials"),
        ({"costs": ()}, "costs"),
        ({"weights": {"error": 1}}, "weights"),
        ({"weights": {"loss": -1}}, "weights['loss']"),
        ({"weights": {"loss": 0}}, "weights"),
        ({"workers": 0}, "workers"),
        ({"seed": -1}, "seed"),
        ({"progress": 1}, "progress"),
        ({"budget": 100}, "budget"),
        ({"budget": Budget(parameters=11)}, "budget"),
        ({"task": count}, "task"),
        ({"space": LAYER}, "space"),
    ],
)
def test_bad_input_is_refused_before_anything_is_tried(changes: dict, argument: str, tmp_path: Path) -> None:
    given = {"budget": None, "task": train_with(count), "space": LINES, "method": "greedy"} | changes
    with pytest.raises(tm.TensorMoEError) as caught:
        search(**given, storage=tmp_path / "search.log")
    assert caught.value.argument == argument
    assert not [*tmp_path.iterdir()]


def test_a_space_of_which_too_much_can_be_listed_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="too many to list"):
        search(None, train_with(count), Space(LAYER, ranks=4), method="exhaustive")


SCRIPT = """
import sys, time
import tensormoe as tm

def task(spec, seed):
    with open(sys.argv[2], "a") as file:
        file.write(tm.explore.canonical_key(spec.network) + "\\n")
    time.sleep(float(sys.argv[3]))
    with open(sys.argv[2] + ".done", "a") as file:
        file.write(tm.explore.canonical_key(spec.network) + "\\n")
    return abs(spec.num_parameters - 31)

layer = tm.MuMoESpec(4, 5, 3, tm.Dense(), gate=None, bias=False)
space = tm.explore.Space(layer, max_cores=3, ranks=2, hyperedges=0, latent=0, carriers=False)
study = tm.explore.search(
    None, tm.explore.train_with(task, name="slow"), space, method="exhaustive", storage=sys.argv[1]
)
study.save(sys.argv[2] + "." + sys.argv[4])
"""


def begin(tmp_path: Path, storage: str, seconds: float, name: str) -> subprocess.Popen[bytes]:
    arguments = [storage.format(tmp_path), str(tmp_path / "calls"), str(seconds), name]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stderr=subprocess.PIPE)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
def test_two_processes_share_a_search(storage: str, tmp_path: Path) -> None:
    both = [begin(tmp_path, storage, 0.2, name) for name in ("one", "two")]
    for process in both:
        assert process.wait(120) == 0, process.stderr.read().decode()
    calls = lines(tmp_path / "calls")
    assert len(calls) == len({*calls}) == 8
    studies = [Study.load(tmp_path / f"calls.{name}") for name in ("one", "two")]
    assert all({trial.key for trial in study.trials} == {*calls} for study in studies)


def test_a_killed_search_goes_on_and_repeats_nothing_that_was_done(tmp_path: Path) -> None:
    killed = begin(tmp_path, STORAGES["journal"], 0.3, "killed")
    deadline = time.monotonic() + 120
    while len(lines(tmp_path / "calls")) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(60)
    begun, done = lines(tmp_path / "calls"), lines(tmp_path / "calls.done")
    assert begin(tmp_path, STORAGES["journal"], 0.0, "resumed").wait(120) == 0
    calls = Counter(lines(tmp_path / "calls"))
    assert len(calls) == 8
    # What was running is done again; of what was done, at most the one that was about to be written down.
    assert all(calls[key] == 1 for key in done[:-1])
    assert {key for key, number in calls.items() if number > 1} <= {*begun[-1:], *done[-1:]}
    assert len(Study.load(tmp_path / "calls.resumed").complete) == 8


def test_optuna_reads_the_storage(tmp_path: Path) -> None:
    """What its dashboard shows: named objectives, the coordinates as parameters, our key."""
    optuna = pytest.importorskip("optuna")
    url = f"sqlite:///{tmp_path}/search.db"
    study = search(None, train_with(count), LINES, method="exhaustive", storage=url)
    theirs = optuna.load_study(storage=url, study_name="tensormoe")
    assert theirs.metric_names == ["loss", "parameters"]
    told = {trial.user_attrs["key"]: trial.values for trial in theirs.trials}
    assert told == {each.key: [each.values["loss"], each.values["parameters"]] for each in study.trials}
    assert {*theirs.trials[0].params} == {"bond 1 1 2", "bond 1 1 3", "bond 1 2 3"}
    assert json.loads(theirs.user_attrs["tensormoe"])["task"] == "count"
