"""Laws are fitted to losses that follow a planted one."""

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.exploring import scaling, train_with
from tensormoe.exploring.scaling import _fit, _line

LAYER = tm.MuMoESpec(16, 8, 4, tm.CP(4))
WIDTHS = (16, 32, 64, 128, 256)


def test_a_planted_law_is_found() -> None:
    def train(spec: tm.MuMoESpec, seed: int) -> float:
        noise = np.random.default_rng([seed, spec.in_features]).normal(scale=0.02)
        return float(3 * spec.macs**-0.25 * np.exp(noise))

    law = scaling(tm.CP(4), WIDTHS, train_with(train), 3, like=LAYER)
    specs = [trial.spec for trial in law.study.trials[::3]]
    assert [(spec.in_features, spec.out_features) for spec in specs] == [(w, w // 2) for w in WIDTHS]
    assert [spec.factorization for spec in specs] == [tm.CP(w // 4) for w in WIDTHS]
    assert law.exponent.low < 0.25 < law.exponent.high
    assert law.exponent.value == pytest.approx(0.25, abs=0.02)
    assert law.coefficient == pytest.approx(3, rel=0.2)
    assert law.predict(1000) == pytest.approx(3 * 1000**-0.25, rel=0.05)
    assert "exponent from" in str(law)


def test_intervals_hold_the_exponent_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    compute = np.repeat(10.0 ** np.arange(2, 7), 2)
    held = 0
    for _ in range(400):
        losses = 2 * compute**-0.1 * np.exp(generator.normal(scale=0.05, size=10))
        low, high = _line(compute, losses, 0.0)[0][1:]
        held += low < 0.1 < high
    assert 0.92 < held / 400 < 0.98


def test_a_floor_is_given_or_fitted() -> None:
    compute = np.repeat(10.0 ** np.linspace(2, 8, 9), 2)
    noise = np.exp(np.random.default_rng(1).normal(scale=0.01, size=18))
    losses = 1.5 + 4 * compute**-0.3 * noise
    given, fitted = _line(compute, losses, 1.5), _fit(compute, losses)
    assert given[0].value == pytest.approx(0.3, abs=0.01)
    assert fitted[0].low < 0.3 < fitted[0].high
    assert fitted[0].value == pytest.approx(0.3, abs=0.02)
    assert fitted[2] == pytest.approx(1.5, abs=0.01)
    # Without the floor, the law is another.
    assert abs(_line(compute, losses, 0.0)[0].value - 0.3) > 0.1


def test_a_family_may_be_a_function() -> None:
    def widen(width: int) -> tm.MuMoESpec:
        return tm.MuMoESpec(width, width, 4, tm.TensorNetwork("n i r, r o", r=width // 4))

    law = scaling(widen, WIDTHS[:3], train_with(lambda spec, seed: 1 / spec.macs, name="inverse"))
    assert law.exponent.value == pytest.approx(1)
    assert law.widths == WIDTHS[:3]


def test_widths_that_fail_are_left_out_and_too_few_are_an_error() -> None:
    def train(spec: tm.MuMoESpec, seed: int) -> float:
        if spec.in_features > 64:
            raise MemoryError("too wide")
        return 1 / spec.macs

    law = scaling(tm.CP(4), WIDTHS, train_with(train), like=LAYER)
    assert law.exponent.value == pytest.approx(1)
    with pytest.raises(tm.TensorMoEError, match=r"widths: .*only 2 of them gave a loss.*too wide"):
        scaling(tm.CP(4), WIDTHS[1:], train_with(train), like=LAYER)


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"widths": (16, 32)}, "widths"),
        ({"widths": (16, 16, 32)}, "widths"),
        ({"widths": (16, 32, 0)}, "widths"),
        ({"widths": 64}, "widths"),
        ({"family": 3}, "family"),
        ({"family": lambda width: width}, "family"),
        ({"like": None}, "like"),
        ({"task": tm.explore.cost_alone()}, "task"),
        ({"floor": -1.0}, "floor"),
        ({"floor": 2.0}, "floor"),
    ],
)
def test_what_cannot_be_fitted_is_refused(changes: dict[str, object], argument: str) -> None:
    options: dict[str, object] = {
        "family": tm.CP(4),
        "widths": WIDTHS,
        "task": train_with(lambda spec, seed: 1.0, name="one"),
        "like": LAYER,
    }
    with pytest.raises(tm.TensorMoEError) as raised:
        scaling(**{**options, **changes})  # type: ignore[arg-type]
    assert raised.value.argument == argument
