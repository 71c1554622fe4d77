"""The experiment on cost: counts against what is built and run, the model of time, and what is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import support.frameworks

torch = support.frameworks.optional("torch")
from benchmarks.experiments import cost, cost_memory, presets  # noqa: E402
from benchmarks.experiments.cost_model import FLOAT, Point, fit, off, predict, read_memory  # noqa: E402
from benchmarks.experiments.cost_results import Costs  # noqa: E402
from benchmarks.experiments.cost_sides import (  # noqa: E402
    DENSE,
    FACTORIZED,
    GATHERED,
    SIDES,
    SOFT,
    SPARSE,
    Count,
    Size,
    build,
    count,
)
from benchmarks.experiments.results import Results  # noqa: E402
from benchmarks.experiments.storage import make  # noqa: E402
from benchmarks.experiments.trial import Outcome, Trial  # noqa: E402
from benchmarks.processes import MEMORY_IS_MEASURED  # noqa: E402
from tensormoe.errors import TensorMoEError  # noqa: E402

SIZE = Size(16, 6, 5)


@pytest.mark.parametrize("side", SIDES)
def test_a_side_has_the_parameters_that_it_counts(side: str) -> None:
    module = build(side, SIZE, 0, "cpu")
    assert sum(each.numel() for each in module.parameters()) == count(side, SIZE).parameters
    assert module(torch.randn(SIZE.batch, SIZE.width)).shape == (SIZE.batch, SIZE.width)


@pytest.mark.parametrize("side", SIDES)
def test_a_side_multiplies_as_often_as_it_counts(side: str) -> None:
    """PyTorch's own counter says so, of two operations for each; plans count biases as a further input."""
    from torch.utils.flop_counter import FlopCounterMode

    module = build(side, SIZE, 0, "cpu").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.randn(SIZE.batch, SIZE.width))
    products = counter.get_total_flops() // 2
    assert products <= count(side, SIZE).macs <= (1 + 1 / SIZE.width) * products


def test_parameters_and_computations_are_those_that_are_compared() -> None:
    size = Size(64, 8, 256)
    counts = {side: count(side, size) for side in SIDES}
    dense = counts[DENSE]
    for side in FACTORIZED:
        assert 0.95 * dense.parameters < counts[side].parameters <= dense.parameters
    assert counts[SOFT].parameters > 8 * dense.parameters
    router = size.batch * size.width * size.experts
    assert counts[SPARSE].macs == dense.macs + router
    # Two low-rank experts for each of few vectors.
    few = Size(64, 256, 2)
    assert count(GATHERED, few).macs < 1.3 * count(SPARSE, few).macs


def test_a_sparse_mixture_is_the_sum_of_its_two_best_experts() -> None:
    module = build(SPARSE, SIZE, 3, "cpu").double()
    x = torch.randn(SIZE.batch, SIZE.width, dtype=torch.float64)
    up, down = module.weights
    outputs = torch.einsum("tnh,nho->tno", torch.nn.functional.gelu(torch.einsum("ti,nih->tnh", x, up)), down)
    logits, places = (x @ module.gate).topk(2)
    expected = sum(
        logits.softmax(-1)[:, [k]] * outputs[torch.arange(SIZE.batch), places[:, k]] for k in range(2)
    )
    torch.testing.assert_close(module(x), expected)


def test_the_model_finds_the_rates_that_made_the_times() -> None:
    generator = np.random.default_rng(0)
    counts = [Count(*row) for row in generator.integers(1, 1_000, (20, 6)).tolist()]
    rates = np.array([3e-6, 2e-9, 1e-9, 4e-9, 5e-9])
    points = [
        Point(
            each,
            float(
                rates
                @ (
                    each.operations,
                    3 * each.macs,
                    3 * FLOAT * each.elements,
                    FLOAT * each.parameters,
                    each.coefficients,
                )
            ),
        )
        for each in counts
    ]
    found = fit(points[:15], training=True)
    np.testing.assert_allclose(found, rates, rtol=1e-5)
    np.testing.assert_allclose(off(found, points[15:], training=True), 1.0, rtol=1e-6)
    twice = [Point(each.counted, 2 * each.seconds) for each in points[15:]]
    np.testing.assert_allclose(off(found, twice, training=True), 2.0, rtol=1e-6)
    assert predict(found, counts[0], training=True) == pytest.approx(points[0].seconds)


@pytest.mark.skipif(not MEMORY_IS_MEASURED, reason="only Linux says what a process holds")
def test_memory_is_that_of_parameters_gradients_and_what_is_kept() -> None:
    size = Size(64, 128, 64)
    held = cost_memory.measure((SOFT, DENSE), size, 0, "cpu")
    for training, mode in ((False, "inference"), (True, "training")):
        least = read_memory(count(SOFT, size), training)
        assert 0.9 * least < held[f"{SOFT}, {mode}"] < 2 * least
        assert held[f"{DENSE}, {mode}"] < 0.1 * least


SMALL = {
    "seeds": 2,
    "widths": (16, 24),
    "experts": (4, 8),
    "batches": (4, 8),
    "middle": (16, 4),
    "published": ((32, 8, 4),),
    "seconds": 0.001,
    "rounds": 1,
}


def test_a_trial_times_all_sides_that_are_not_too_large(tmp_path: Path) -> None:
    most = count(SPARSE, Size(16, 4, 8)).parameters
    small = replace(presets.read(cost.EXPERIMENT), **SMALL, most_parameters=most)
    cells = cost.cells(small)
    assert [each["what"] for each in cells] == ["time"] * 9 + ["memory"] * 2
    own = cost.run(small, Trial({**cells[0], "batch": 8}, 0, tmp_path, tmp_path))
    assert set(own.measures) == set(SIDES)
    assert set(own.timings) == {
        f"{side}, {mode}" for side in SIDES if side != SOFT for mode in ("inference", "training")
    }
    assert all(isinstance(value, float) and value > 0 for value in own.timings.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics processor")
def test_the_full_preset_asks_for_a_graphics_processor(tmp_path: Path) -> None:
    full = presets.read(cost.EXPERIMENT, "full")
    with pytest.raises(TensorMoEError, match="PyTorch sees no graphics processor here"):
        cost.run(full, Trial(cost.cells(full)[0], 0, tmp_path, tmp_path))


def invent(rate: float, soft: float) -> tuple[cost.Configuration, Results]:
    """Results in which time is so many seconds a multiply-accumulate; those of the soft MoE are longer."""
    small = replace(presets.read(cost.EXPERIMENT), **SMALL)
    lines = []
    for seed in range(small.seeds):
        for cell in cost.cells(small):
            size = Size(int(cell["width"]), int(cell["experts"]), int(cell["batch"]))
            counts = {side: count(side, size) for side in SIDES}
            published = size.width == 32
            timings = {
                f"{side}, {mode}": rate * each.macs * (soft if side == SOFT else 1.0) * (1 + 0.001 * seed)
                for side, each in counts.items()
                for mode in ("inference", "training")
                if not (published and side == SOFT)
            }
            outcome = Outcome({side: each._asdict() for side, each in counts.items()}, timings)
            lines.append(make(small, cell, seed, outcome, 1.0, 1.0))
    return small, Results(tuple(lines))


def test_verdicts_follow_from_the_times() -> None:
    told = cost.EXPERIMENT.report(*invent(1e-9, 10.0))
    by_claim = {finding.claim: finding for finding in told.findings}
    soft = by_claim["A μMoE takes less time and memory than the soft MoE that it stands for"]
    assert soft.verdict == "holds"
    assert told.findings[-1].verdict == "not testable here"
    told = cost.EXPERIMENT.report(*invent(1e-9, 0.01))
    assert told.findings[1].verdict == "does not hold at this size"
    assert "comparisons do not show it" in told.findings[1].why


def test_the_model_of_the_report_predicts_what_was_held_out() -> None:
    small, lines = invent(1e-9, 1.0)
    costs = Costs(small, lines)
    model = costs.model(SPARSE, training=False)
    np.testing.assert_allclose([*model.fitted, *model.held, *model.published], 1.0, atol=0.01)
    assert (len(model.fitted), len(model.held), len(model.published)) == (4, 4, 1)
    size = Size(32, 8, 4)
    assert predict(model.rates, count(SOFT, size), training=False) == pytest.approx(
        1e-9 * count(SOFT, size).macs, rel=0.01
    )


def test_figures_have_units_and_a_line_for_each_side() -> None:
    small, lines = invent(1e-9, 2.0)
    drawn = {picture.name: picture.draw() for picture in cost.EXPERIMENT.report(small, lines).pictures}
    assert drawn["cost-time"].axes[0].get_ylabel() == "time of a call [ms]"
    assert drawn["cost-memory"].axes[0].get_ylabel() == "memory of a call [MB]"
    assert [text.get_text() for text in drawn["cost-model"].legends[0].get_texts()] == [*SIDES]
