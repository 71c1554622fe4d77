"""Costs and exponents against values derived by hand."""

from math import log

import pytest

import tensormoe as tm
from tensormoe.exploring.structure import nu, omega, psi, rank

ALONE = {"experts": (), "gate": None, "bias": False}
MIXED = {"experts": 4, "gate": None, "bias": False}
LOG = log(64)


@pytest.mark.parametrize(
    ("spec", "shared", "ranks", "compute"),
    [
        # d² parameters, each used once a token: F = d².
        (tm.MuMoESpec(64, 64, factorization=tm.Dense(), **ALONE), 0, 1, 1),
        # Two cores of d^(3/2), each used once: F = 2 d^(3/2). Full rank, unlike r = 1 in other orders.
        (tm.MuMoESpec(64, 64, factorization=tm.BTT((8, 8), (8, 8), 1), **ALONE), 0, 1, 0.5 + log(2) / LOG),
        # Its bond of 4: F = 2 · 4 d^(3/2).
        (tm.MuMoESpec(64, 64, factorization=tm.BTT((8, 8), (8, 8), 4), **ALONE), 0, 1, 0.5 + log(8) / LOG),
        # Two matrices of d parameters, each of them used d^½ times.
        (
            tm.MuMoESpec(64, 64, factorization=tm.TensorNetwork("i1 o1, i2 o2", i=(8, 8), o=(8, 8)), **ALONE),
            0.5,
            1,
            0.5 + log(2) / LOG,
        ),
        # A d × r and an r × d matrix: F = 2 r d.
        (
            tm.MuMoESpec(64, 64, factorization=tm.TensorNetwork("i r, r o", r=8), **ALONE),
            0,
            0.5,
            0.5 + log(2) / LOG,
        ),
        # R (N + I + O) parameters, each used once.
        (tm.MuMoESpec(64, 64, factorization=tm.CP(8), **MIXED), 0, 0.5, log(8 * 132) / LOG - 1),
        # One core in two places is used twice: F = r (N + I + O), of which r I are parameters once.
        (
            tm.MuMoESpec(64, 64, factorization=tm.TensorNetwork("n r, A: i r, A: o r", r=8), **MIXED),
            log(132 / 68) / LOG,
            0.5,
            log(8 * 132) / LOG - 1,
        ),
        # A mixture of dense experts: F = N d² for the experts, and N d to mix them.
        (tm.MuMoESpec(64, 64, factorization=tm.Dense(), **MIXED), None, 1, None),
    ],
)
def test_exponents_are_those_derived_by_hand(
    spec: tm.MuMoESpec, shared: float | None, ranks: float, compute: float | None
) -> None:
    assert psi(spec) == pytest.approx(ranks)
    if shared is not None and compute is not None:
        assert omega(spec) == pytest.approx(shared, abs=1e-12)
        assert nu(spec) == pytest.approx(compute)


@pytest.mark.parametrize(
    ("notation", "sizes", "most"),
    [
        ("n r, i r, r o", {"r": 3}, 3),
        ("n o, i o", {}, 6),
        ("n i, i r, r o", {"r": 2}, 2),
        # Two bonds between the input and the output carry their product.
        ("n a b, i a b, o a b", {"a": 2, "b": 2}, 4),
        # A ring: what goes around through the experts counts, too.
        ("a n b, b i c, c o a", {"a": 2, "b": 2, "c": 2}, 4),
        ("i o + n r, i r, r o", {"r": 1}, 6),
        ("i q, q o + n r, i r, r o", {"q": 1, "r": 2}, 3),
        # The mask lets each expert see a fourth of the inputs.
        ("M: n i, i o", {"fixed": {"M": "blocks 4"}}, 2),
    ],
)
def test_the_rank_of_an_expert(notation: str, sizes: dict[str, int], most: int) -> None:
    family = tm.TensorNetwork(notation, **sizes)  # type: ignore[arg-type]
    for bias in (False, True):
        if "M:" in notation and bias:
            continue
        assert rank(tm.MuMoESpec(8, 6, 4, family, bias=bias)) == most


def test_costs_are_those_of_the_plan() -> None:
    gated = tm.MuMoESpec(8, 6, 4, tm.CP(5), bias=False)
    values = tm.explore.measure(gated, ("parameters", "macs", "macs@1", "memory@10", "-psi"))
    assert values == {
        "parameters": 5 * 18 + 8 * 4,
        "macs": 5 * 18 + 8 * 4,
        "macs@1": 5 * 18 + 8 * 4,
        "memory@10": gated.plan(10).peak,
        "-psi": -log(5) / log(6),
    }


def test_measured_times_grow_with_the_layer() -> None:
    small, large = (tm.MuMoESpec(64, 64, 4, tm.CP(rank)) for rank in (1, 2048))
    times = [tm.explore.measure(spec, ["seconds@256"])["seconds@256"] for spec in (small, large)]
    assert 0 < 2 * times[0] < times[1]


@pytest.mark.parametrize("name", ["parameter", "macs@", "macs@0", "macs@-1", "macs@x", "", "--psi", 3])
def test_unknown_objectives_are_refused(name: object) -> None:
    with pytest.raises(tm.TensorMoEError, match="objective"):
        tm.explore.measure(tm.MuMoESpec(8, 6, 4, tm.CP(5)), [name])  # type: ignore[list-item]
