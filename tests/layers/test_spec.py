import json
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given

import tensormoe as tm
from tensormoe.testing import specs

CLIP = {"in_features": 768, "out_features": 1000}


@given(specs())
def test_a_pickle_carries_the_fields_alone(spec: tm.MuMoESpec) -> None:
    _ = spec.default_plan
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    assert hash(again) == hash(spec)
    assert vars(again).keys() == spec.arguments.keys()
    assert again.default_plan == spec.default_plan


@pytest.mark.parametrize(
    "experts", [(), [], 0, -1, (4, 0), 2.0, "16", (4, "3"), None, True, ((4, 3),), (1,) * 25]
)
def test_unfit_expert_counts_are_refused(experts) -> None:
    with pytest.raises(tm.TensorMoEError, match="experts") as caught:
        tm.MuMoESpec(8, 6, experts, tm.CP(3))
    assert caught.value.received == experts


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"in_features": 0}, "in_features"),
        ({"out_features": -2}, "out_features"),
        ({"factorization": 64}, "factorization.*tm.CP"),
        ({"factorization": tm.CP}, "factorization"),
        ({"factorization": "n r, i r, r o"}, r"received 'n r, .*; .*tm\.TensorNetwork\(.*, r=64\)"),
        ({"gate": "softmax"}, "gate.*tm.Gate"),
        ({"bias": 1}, "bias"),
    ],
)
def test_unfit_fields_are_refused(fields: dict, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        tm.MuMoESpec(8, 6, 4, tm.CP(3)).replace(**fields)


def test_unfit_block_fields_are_refused() -> None:
    block = tm.MuMoEBlockSpec(8, 16, 6, 4, tm.CP(3))
    for fields, said in (
        ({"nonlinearity": "swish"}, "nonlinearity: received 'swish'; choose one of 'gelu'"),
        ({"hidden_features": 0}, "hidden_features"),
        ({"input_norm": None}, "input_norm"),
    ):
        with pytest.raises(tm.TensorMoEError, match=said):
            block.replace(**fields)


def test_numpy_integers_are_integers() -> None:
    spec = tm.MuMoESpec(np.int64(8), 6, np.array([4, 3])[0], tm.CP(np.int32(3)))
    assert spec == tm.MuMoESpec(8, 6, 4, tm.CP(3))
    assert json.loads(spec.to_json())["experts"] == [4]


# Experts → CP rank, tensor-ring R3 (with R1 = R2 = 4) of the published layers, gate and bias included.
PUBLISHED = {32: (414, 106), 64: (393, 102), 128: (354, 95), 256: (283, 81), 512: (165, 52)}


@pytest.mark.parametrize(("experts", "ranks"), list(PUBLISHED.items()))
def test_counts_and_matching_of_the_published_clip_heads(experts: int, ranks: tuple[int, int]) -> None:
    """Published ranks are the first whose count passes the linear layer's; ours the last within it."""
    linear = 768 * 1000 + 1000
    families = (tm.CP, lambda rank: tm.TensorRing((4, 4, rank)))
    for rank, family in zip(ranks, families, strict=True):
        published = tm.MuMoESpec(**CLIP, experts=experts, factorization=family(rank))
        start = published.replace(factorization=family(1))
        assert start.matched(parameters=published.num_parameters) == published
        within = start.matched(parameters=linear)
        assert within.num_parameters <= linear < published.num_parameters
        assert within.factorization == family(rank - 1)


def test_published_counts() -> None:
    def count(factorization: tm.Factorization, experts: int = 64) -> int:
        return tm.MuMoESpec(**CLIP, experts=experts, factorization=factorization).num_parameters

    assert count(tm.CP(393)) == 769_521
    assert count(tm.TensorRing((4, 4, 102))) == 771_928
    gpt2 = {"in_features": 768, "hidden_features": 3072, "out_features": 768, "experts": 256}
    mlp, others = 2 * 768 * 3072 + 3072 + 768, 123.69e6
    for factorization, whole in ((tm.CP(556), 124.05e6), (tm.TensorRing((4, 4, 149)), 124.42e6)):
        block = tm.MuMoEBlockSpec(**gpt2, factorization=factorization).num_parameters
        assert abs(others + 12 * (block - mlp) - whole) < 0.01e6


def test_matching_names_what_cannot_be() -> None:
    spec = tm.MuMoESpec(**CLIP, experts=1024, factorization=tm.CP(1))
    with pytest.raises(tm.TensorMoEError, match=r"even with bond.* r of size 1 there are 789225"):
        spec.matched(parameters=769_000)
    with pytest.raises(tm.TensorMoEError, match="bond: received 'q'; choose one of 'r'"):
        spec.matched(parameters=10**6, bond="q")
    with pytest.raises(tm.TensorMoEError, match=r"factorization: received Dense.*no bond"):
        tm.MuMoESpec(8, 6, 4, tm.Dense()).matched(parameters=10**6)
    for unfit in ({"parameters": -1}, {"parameters": 10**6, "multiple_of": 0}):
        with pytest.raises(tm.TensorMoEError, match=f"{[*unfit][-1]}: received"):
            spec.matched(**unfit)
    with pytest.raises(tm.TensorMoEError, match="closing rank"):
        tm.MuMoESpec(8, 6, 4, tm.TensorTrain((2, 2))).matched(parameters=10**6, bond="r1")


@pytest.mark.parametrize(
    ("factorization", "bond"),
    [
        (tm.CP(1), None),
        (tm.Tucker((3, 1, 1)), None),
        (tm.Tucker((3, 5, 5)), "p"),
        (tm.TensorTrain((3, 1)), None),
        (tm.TensorTrain((3, 5)), "r2"),
        (tm.TensorRing((3, 3, 1)), None),
        (tm.TensorRing((3, 3, 3)), "r1"),
        (tm.TensorNetwork("n i r, n r o", r=1), None),
    ],
    ids=str,
)
@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("unit", [1, 3])
def test_matching_is_tight(factorization: tm.Factorization, bond: str | None, block: bool, unit: int) -> None:
    """One more of the grown rank, gate and bias and input norm included, passes the budget."""
    spec = (
        tm.MuMoEBlockSpec(20, 40, 30, 60, factorization, input_norm=True)
        if block
        else tm.MuMoESpec(20, 30, 60, factorization)
    )
    budget = 40_000 if "n i r" in str(factorization) else 5_000 if block else 3_000
    with warnings.catch_warnings(action="error"):
        matched = spec.matched(parameters=budget, bond=bond, multiple_of=unit)
    growing = (bond,) if bond else factorization.growing_bonds(1)
    sizes = matched.factorization.bonds(1)
    larger = matched.factorization.with_bonds({**sizes, **{b: sizes[b] + unit for b in growing}})
    assert all(sizes[b] % unit == 0 for b in growing)
    assert matched.num_parameters <= budget < spec.replace(factorization=larger).num_parameters
    parameters, _ = tm.initialize(matched)
    assert sum(value.size for value in parameters.values()) == matched.num_parameters


@pytest.mark.parametrize("subject", ["CP(3)", None, tm.CP(3), tm.MuMoESpec])
def test_what_is_not_a_specification_is_refused_by_every_function(subject: object) -> None:
    x = np.ones((2, 8), "float32")
    calls = (
        lambda: tm.apply(subject, {}, x),
        lambda: tm.initialize(subject),
        lambda: tm.build(subject, "numpy"),
        lambda: tm.verify(subject, ("numpy",)),
        lambda: tm.bench(subject, "numpy"),
        lambda: tm.contract(subject, {}, [], x),
        lambda: tm.materialize(subject, {}),
        lambda: tm.cores_of(subject, {}),
        lambda: tm.from_tensorly(subject, []),
        lambda: tm.to_tensorly(subject, {}),
    )
    for call in calls:
        with pytest.raises(tm.TensorMoEError, match=r"^spec: .*pass a MuMoESpec"):
            call()
