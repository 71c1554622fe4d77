"""Capacity that can never be used: what is named stays equal in training, and the rest does not."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from support.frameworks import optional

import tensormoe as tm
from tensormoe.layers.initialization import fixed_values
from tensormoe.testing import specs
from tensormoe.verification import capacity
from tensormoe.verification.capacity import excess_ranks, find_unused

torch = optional("torch")

SOFTMAX = tm.Gate("softmax")
RING_OF_IDENTITIES = tm.TensorNetwork("n1 r, n2 a b, n3 b a, i r, r o", r=4, a=3, b=3)
WITHOUT_USE = [
    ((4, 3), tm.CP(5), {"experts of level 2": (1, ())}),
    ((4, 3), tm.Tucker((2, 3, 4, 4)), {"experts of level 2": (1, ())}),
    # Two identities that are not square: the values of the bond between them beyond both are zero.
    ((4, 3), tm.TensorRing((2, 5, 2, 3)), {
        "experts of level 2": (1, ()), "values of bond r2": (2, (2, 3, 4))}),
    ((4, 3, 2), tm.TensorNetwork("n1 r, n2 r a, n3 a, i r, r o", r=4, a=3), {
        "experts of level 2": (1, ()), "experts of level 3": (1, ()), "values of bond a": (1, ())}),
    # No two values of one bond are equal here: they change places together with those of the other bond.
    ((4, 3, 2), RING_OF_IDENTITIES, {
        "experts of level 2": (1, ()), "experts of level 3": (1, ()),
        "values of bond a": (1, ()), "values of bond b": (1, ())}),
]  # fmt: skip


@pytest.mark.parametrize(("experts", "family", "expected"), WITHOUT_USE, ids=str)
def test_what_the_published_start_leaves_without_use_is_named(experts, family, expected) -> None:
    spec = tm.MuMoESpec(6, 5, experts, family, SOFTMAX, initialization="published")
    unused = find_unused(spec)
    assert {each.what: (each.size - each.count, each.zeros) for each in unused} == expected
    report = tm.verify(spec, methods="capacity")
    assert not report.passed
    (check,) = report.checks
    assert check.error == sum(each.count for each in unused)
    for each in unused:
        assert f"capacity: {each}" in report.remarks


@pytest.mark.parametrize(("experts", "family", "expected"), WITHOUT_USE, ids=str)
def test_the_default_start_leaves_nothing_without_use(experts, family, expected) -> None:
    report = tm.verify(tm.MuMoESpec(6, 5, experts, family, SOFTMAX), methods="capacity")
    assert report.passed
    assert [check.method for check in report.checks] == ["capacity"]


def test_without_noise_every_value_of_a_wide_bond_is_used() -> None:
    """A single expert has no noise: two identities around the wide bond would leave most of it zero."""
    spec = tm.MuMoESpec(6, 5, (1, 1), tm.TensorRing((2, 5, 2, 3)))
    assert find_unused(spec) == ()
    (unused,) = find_unused(spec.replace(initialization="published"))
    assert (unused.what, unused.zeros) == ("values of bond r2", (2, 3, 4))


def has_empty_slices(array: np.ndarray) -> bool:
    """Whether an array is zero for one value of an index: nothing that meets it there is ever used."""
    sums = (np.abs(array).sum(tuple({*range(array.ndim)} - {axis})) for axis in range(array.ndim))
    return not all(each.all() for each in sums)


@given(specs())
def test_no_random_network_starts_with_capacity_without_use(spec: tm.MuMoESpec) -> None:
    assume(not any(map(has_empty_slices, fixed_values(spec, "float64").values())))
    assert find_unused(spec) == ()


def test_a_fixed_core_that_is_zero_for_a_value_leaves_it_without_use() -> None:
    fixed = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, 1.0]])
    family = tm.TensorNetwork("n i r, H: o r", r=3, fixed={"H": fixed})
    (unused,) = find_unused(tm.MuMoESpec(4, 2, 3, family, SOFTMAX, bias=False))
    assert (unused.what, unused.zeros) == ("values of bond r", (1,))


TWO_TERMS = tm.TensorNetwork("n i r, r o + n i s, s o", r=2, s=2)


def test_zeros_of_an_expert_in_one_core_of_each_term_are_not_without_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other core of each term tells them what to become."""
    spec = tm.MuMoESpec(4, 3, 3, TWO_TERMS, SOFTMAX, bias=False)
    cores = {name: array for name, array in tm.initialize(spec, 0)[0].items() if name.startswith("cores")}
    first, second = (name for name, array in cores.items() if array.ndim == 3)
    for array in (cores[first], cores[second]):
        array[1] = 0
    with_start(monkeypatch, cores)
    assert find_unused(spec) == ()


def with_start(monkeypatch: pytest.MonkeyPatch, arrays: dict[str, np.ndarray]) -> None:
    """Replace some of the initial parameters."""

    def start(spec: tm.Spec, seed: int, dtype: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        parameters, state = tm.initialize(spec, seed, dtype)
        return {**parameters, **arrays}, state

    monkeypatch.setattr(capacity, "initialize", start)


def test_one_slice_of_zeros_is_not_without_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in LoRA: what the other core holds gives it a gradient."""
    spec = tm.MuMoESpec(6, 5, 4, tm.CP(3))
    generator = np.random.default_rng(0)
    output, inputs = generator.normal(size=(3, 5)), generator.normal(size=(7, 3))
    output[1:] = 0
    with_start(monkeypatch, {"cores.output": output})
    assert find_unused(spec) == ()
    inputs[:, 2] = 0
    with_start(monkeypatch, {"cores.output": output, "cores.input": inputs})
    (unused,) = find_unused(spec)
    assert (unused.zeros, str(unused)) == ((2,), "the 3 values of bond r train as 2: 2 stay zero")


def test_equal_experts_with_gates_of_their_own_can_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tm.MuMoESpec(6, 5, (4, 3), tm.CP(3), initialization="published")
    gates = np.random.default_rng(0).normal(size=(6, 3))
    with_start(monkeypatch, {"gate_weights.1": gates})
    assert find_unused(spec) == ()
    gates[:, 2] = gates[:, 0]
    (unused,) = find_unused(spec)
    assert unused.groups == ((0, 2),)


def train(spec: tm.Spec, kind: str) -> dict[str, np.ndarray]:
    """The parameters after five steps with momentum and weight decay."""
    layer = tm.build(spec, "torch", seed=0, dtype="float64")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, spec.in_features, generator=generator, dtype=torch.float64)
    y = torch.randn(32, spec.out_features, generator=generator, dtype=torch.float64)
    optimizer = {
        "sgd": lambda: torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01),
        "adam": lambda: torch.optim.AdamW(layer.parameters(), lr=0.01, eps=1e-3),
    }[kind]()
    for _ in range(5):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
    return {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}


def distinct_experts(spec: tm.Spec, values: dict[str, np.ndarray]) -> list[int]:
    """How many experts of each level differ, by more than rounding, in their cores or gate weights."""
    counts = []
    for level, mode in enumerate(tm.expert_modes(spec.levels)):
        rows = [values[f"gate_weights.{level}"].T]
        for prefix, stage in spec.layers.items():
            for core in stage.network.cores:
                if mode in core.indices:
                    moved = np.moveaxis(values[f"{prefix}.{core.name}"], core.indices.index(mode), 0)
                    rows.append(moved.reshape(len(moved), -1))
        whole = np.concatenate(rows, axis=1)
        gaps = np.abs(whole[:, None] - whole).max(axis=-1) > 1e-7
        counts.append(sum(gaps[k, :k].all() for k in range(len(gaps))))
    return counts


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("start", ["linear", "published"])
@pytest.mark.parametrize(("experts", "family"), [case[:2] for case in WITHOUT_USE], ids=str)
def test_what_is_named_stays_equal_in_training_and_the_rest_does_not(experts, family, start, kind) -> None:
    spec = tm.MuMoESpec(6, 5, experts, family, SOFTMAX, initialization=start)
    named = {each.what: each for each in find_unused(spec)}
    trained = distinct_experts(spec, train(spec, kind))
    for level, (count, distinct) in enumerate(zip(experts, trained, strict=True), start=1):
        each = named.get(f"experts of level {level}")
        assert distinct == count - (each.count if each else 0)


def test_a_bond_that_is_named_keeps_its_values_equal() -> None:
    spec = tm.MuMoESpec(6, 5, (4, 3, 2), RING_OF_IDENTITIES, SOFTMAX, initialization="published")
    values = train(spec, "sgd")
    core = values["cores.core2"]
    assert np.abs(core - np.eye(3)).max() > 1e-4
    for order in ([1, 0, 2], [2, 1, 0]):
        np.testing.assert_allclose(core[:, order][:, :, order], core, atol=1e-12)


def test_experts_of_a_block_are_equal_only_where_both_layers_say_so() -> None:
    block = tm.MuMoEBlockSpec(6, 7, 5, (4, 3), tm.CP(5), initialization="published")
    (unused,) = find_unused(block)
    assert str(unused) == "the 3 experts of level 2 train as 1: 0, 1, 2 stay equal"
    ring = block.replace(factorization=tm.TensorRing((2, 5, 2, 3)))
    assert [each.what for each in find_unused(ring)] == [
        "values of the first layer's bond r2", "experts of level 2", "values of the second layer's bond r2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "gate",
    [tm.Gate(noise=0.1), tm.Gate(tm.Activation("top_k", k=2)), tm.Gate(lambda logits: logits)],
    ids=["noise", "top_k", "function"],
)
def test_gates_that_may_tell_equal_experts_apart_are_left_out_and_said_so(gate: tm.Gate) -> None:
    spec = tm.MuMoESpec(6, 5, (4, 3), tm.CP(5), gate, initialization="published")
    assert find_unused(spec) == ()
    report = tm.verify(spec, methods="capacity")
    assert any(line.startswith("capacity: experts") for line in report.unchecked)
    ring = spec.replace(factorization=tm.TensorRing((2, 5, 2, 3)))
    assert [each.what for each in find_unused(ring)] == ["values of bond r2"]


def test_ranks_beyond_what_a_core_passes_on_are_remarked_and_do_not_fail() -> None:
    spec = tm.MuMoEBlockSpec(64, 64, 10, 16, tm.TensorTrain((4, 65)))
    sentences = [
        "the first layer's bond r3 has size 65, but no more than 64 can matter",
        "the second layer's bond r3 has size 65, but no more than 10 can matter",
    ]
    assert [*excess_ranks(spec)] == sentences
    report = tm.verify(spec, methods="capacity")
    assert report.passed
    assert {f"capacity: {sentence}" for sentence in sentences} < {*report.remarks}
    assert [*excess_ranks(tm.MuMoESpec(64, 10, 4, tm.CP(65)))] == []
    # As many values as the outputs pass on may all matter.
    assert [*excess_ranks(tm.MuMoESpec(64, 10, 16, tm.TensorTrain((4, 10))))] == []
    assert len([*excess_ranks(tm.MuMoESpec(64, 10, 16, tm.TensorTrain((4, 11))))]) == 1


@settings(max_examples=5)
@given(specs(max_size=3))
def test_seeds_are_those_of_the_layer(spec: tm.MuMoESpec) -> None:
    assert find_unused(spec, seed=3) == find_unused(spec, seed=4) == ()


def test_a_thousand_experts_take_no_time() -> None:
    spec = tm.MuMoESpec(64, 64, (1000, 1000), tm.CP(16), initialization="published")
    (unused,) = find_unused(spec)
    assert unused.groups == (tuple(range(1000)),)
    assert str(unused).endswith("train as 1: 0, 1, …, 999 stay equal")
