"""The grid of learning rates: what is chosen, and what the page says of its ends."""

from math import nan
from typing import Any

from benchmarks.experiments import rates
from benchmarks.experiments.results import Results


def results(grid: list[float], chosen: dict[str, float]) -> Results:
    def line(name: str, rate: float, seed: int) -> Any:
        return {
            "configuration": {"rates": grid},
            "cell": {"name": name},
            "seed": seed,
            "measures": {"rate": rate},
        }

    return Results(tuple(line(name, rate, seed) for name, rate in chosen.items() for seed in range(2)))


def test_the_rate_with_the_least_loss_is_chosen_and_never_one_that_diverged() -> None:
    losses = {0.1: 3.0, 0.2: 1.0, 0.4: 1.0, 0.8: nan}
    assert rates.choose(list(losses), losses.__getitem__) == 0.2
    # nan is neither less nor more than anything, wherever it stands.
    assert rates.choose([0.8, 0.1, 0.4], losses.__getitem__) == 0.4
    assert rates.choose([0.8, 0.1], losses.__getitem__) == 0.1


def test_nothing_is_trained_where_there_is_no_choice() -> None:
    assert rates.choose([0.5], {}.__getitem__) == 0.5


def test_contenders_at_an_end_of_the_grid_are_counted_once_for_all_seeds() -> None:
    own = results([0.1, 0.2, 0.4], {"a": 0.4, "b": 0.2, "c": 0.4, "d": 0.1})
    assert rates.tell(own).startswith(
        "Of 4 contenders, 1 chose the smallest (0.1) and 2 chose the largest (0.4): these are at an end of "
        "the grid of learning rates, 0.1 … 0.4"
    )
    inside = rates.tell(results([0.1, 0.2, 0.4], {"a": 0.2, "b": 0.2}))
    assert inside == "All 2 contenders have their best rate inside the grid of learning rates, 0.1 … 0.4."


def test_nothing_is_said_of_a_rate_that_nobody_chose() -> None:
    assert rates.tell(results([0.1], {"a": 0.1})) == ""
    assert rates.tell(Results(())) == ""
