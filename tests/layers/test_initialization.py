from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.frameworks import optional
from support.strategies import BACKENDS, EVERY

import tensormoe as tm
from tensormoe.testing import networks, specs

torch = optional("torch")

CHAIN = "i a, a b, b c, c d, d e, e f, n f g, g o"
PAIRS = "n1 a b c, n2 a d e, n3 b d f, n4 c e f, i a b, c f o"
SEVERAL = [
    ((6, 5), tm.CP(8)),
    ((6, 5), tm.TensorRing((3, 3, 3, 4))),
    ((6, 5), tm.TensorRing((2, 5, 2, 4))),
    ((4, 3, 5), tm.TensorTrain((4, 2, 3, 4))),
    ((6, 5), tm.Tucker((2, 3, 4, 4))),
    ((6, 5), tm.Dense()),
    ((6, 5), tm.TensorNetwork("n o, i o")),
    ((6, 5), tm.TensorNetwork("n i r, n r o", r=3)),
    ((6,), tm.TensorNetwork(CHAIN, **dict.fromkeys("abcdefg", 8))),
    ((6,), tm.TensorNetwork(CHAIN, **dict(zip("abcdefg", (9, 8, 7, 9, 6, 8, 9), strict=True)))),
    ((3, 2, 4, 3), tm.TensorNetwork(PAIRS, **dict.fromkeys("abcdef", 2))),
    ((3, 4, 2), tm.TensorNetwork("n1 a b, n2 b a, n3 r, i r, r o", a=2, b=2, r=8)),
]


def cores(factorization: tm.Factorization, experts=200, features=300, out=150, seed: int = 0) -> dict:
    spec = tm.MuMoESpec(features, out, experts, factorization)
    parameters, _ = tm.initialize(spec, seed, "float64")
    return tm.cores_of(spec, parameters)


@pytest.mark.parametrize("factorization", EVERY, ids=str)
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_same_seed_gives_the_same_bits_everywhere(factorization: tm.Factorization, norm: str) -> None:
    import jax
    import torch

    for spec in (
        tm.MuMoESpec(7, 6, 5, factorization, tm.Gate(norm=norm)),
        tm.MuMoEBlockSpec(7, 8, 6, 5, factorization, tm.Gate(norm=norm), input_norm=True),
    ):
        parameters, state = tm.initialize(spec, seed=3)
        module = tm.build(spec, "torch", seed=3)
        named = dict(module.named_parameters())
        assert {k: tuple(v.shape) for k, v in named.items()} == spec.parameter_shapes
        theirs, their_state = __import__("tensormoe_jax").initialize(spec, seed=3)
        for name, value in parameters.items():
            assert value.dtype == np.float32
            assert (named[name].detach().numpy() == value).all()
            assert (np.asarray(theirs[name]) == value).all()
        buffers = dict(module.named_buffers())
        assert set(state) == set(buffers) == set(their_state) == set(spec.state_shapes)
        doubled, _ = tm.initialize(spec, seed=3, dtype="float64")
        assert all((doubled[name].astype("float32") == parameters[name]).all() for name in parameters)
        half = tm.build(spec, "torch", seed=3, dtype=torch.bfloat16)
        jax_half, _ = __import__("tensormoe_jax").initialize(spec, seed=3, dtype=jax.numpy.bfloat16)
        for name, value in half.named_parameters():
            assert (value.detach().float().numpy() == np.asarray(jax_half[name].astype("float32"))).all()


def test_seeds_differ_and_unfit_ones_are_refused() -> None:
    assert (cores(tm.CP(2), seed=0)["input"] != cores(tm.CP(2), seed=1)["input"]).all()
    spec = tm.MuMoESpec(4, 3, 2, tm.CP(2))
    for seed in (-1, 1.5, "0", True):
        with pytest.raises(tm.TensorMoEError, match="seed"):
            tm.initialize(spec, seed)
    with pytest.raises(tm.TensorMoEError, match=r"dtype.*'float32', 'float64'"):
        tm.initialize(spec, 0, "bfloat16")


def test_cp_starts_as_published() -> None:
    spec = tm.MuMoESpec(300, 150, (200, 10), tm.CP(6), initialization="published")
    parameters, _ = tm.initialize(spec, 0, "float64")
    first = parameters["cores.expert1"]
    assert abs(first.mean() - 1) < 0.1
    assert abs(first.std() - 1) < 0.1
    assert (parameters["cores.expert2"] == 1).all()
    for name, bound in {"input": (1 / 300) ** 0.5, "output": (1 / 6) ** 0.5}.items():
        values = np.abs(parameters[f"cores.{name}"])
        assert 0.95 * bound < values.max() <= bound
        assert abs(values.mean() - bound / 2) < 0.05 * bound
    assert (parameters["gate_weights.0"] == 0).all()
    assert (parameters["gate_weights.1"] == 0).all()


def test_tensor_ring_starts_as_published() -> None:
    spec = tm.MuMoESpec(300, 150, (200, 10), tm.TensorRing((4, 4, 4, 7)), initialization="published")
    parameters, _ = tm.initialize(spec, 0, "float64")
    first, second = parameters["cores.expert1"], parameters["cores.expert2"]
    diagonal = np.eye(4, dtype=bool)[None]
    assert (first[np.broadcast_to(~diagonal, first.shape)] == 0).all()
    noise = first[np.broadcast_to(diagonal, first.shape)]
    assert abs(noise.mean() - 1) < 0.1
    assert abs(noise.std() - 1) < 0.1
    assert (second == np.broadcast_to(diagonal, second.shape)).all()
    for name, bound in {"input": (1 / 300) ** 0.5, "output": (1 / (7 * 4)) ** 0.5}.items():
        values = np.abs(parameters[f"cores.{name}"])
        assert 0.95 * bound < values.max() <= bound


@pytest.mark.parametrize(
    ("factorization", "drawn"), list(zip(EVERY, (2, 3, 2, 2, 1, 1, 2, 1, 3), strict=True)), ids=str
)
def test_the_published_mean_expert_shrinks_with_every_linear_core(factorization, drawn: int) -> None:
    """Its entries' variance is 1/(3 I) times 1/3 for every further core that is drawn uniformly."""
    features, actual = 300, []
    spec = tm.MuMoESpec(features, 40, 400, factorization, initialization="published")
    for seed in range(8):
        values = tm.cores_of(spec, tm.initialize(spec, seed, "float64")[0])
        actual.append(tm.materialize(spec, values).mean(axis=0)[:features].var())
    expected = 1 / (3**drawn * features)
    assert 0.6 < np.mean(actual) / expected < 1.6


# No start of networks with split modes is published, nor of fixed cores, which may tell experts apart.
@given(specs(shared=False, fixed=False).filter(lambda spec: not spec.network.splits))
def test_published_experts_of_further_levels_start_equal(spec: tm.MuMoESpec) -> None:
    weight = weight_of(spec.replace(initialization="published"), 0)
    assert np.abs(weight).max() > 0
    if spec.experts[0] > 1:
        assert (weight[0] != weight[1]).any()
    for axis in range(1, spec.levels):
        np.testing.assert_allclose(weight, np.take(weight, [0] * weight.shape[axis], axis=axis), rtol=1e-12)


def weight_of(spec: tm.MuMoESpec, seed: int) -> np.ndarray:
    parameters, state = tm.initialize(spec, seed, "float64")
    return tm.materialize(spec, tm.cores_of(spec, parameters | state))


def mean_expert(weight: np.ndarray) -> np.ndarray:
    return weight.mean(axis=tuple(range(weight.ndim - 2)))


@given(specs())
def test_experts_of_every_level_start_finite_and_different(spec: tm.MuMoESpec) -> None:
    weight = weight_of(spec, 0)
    assert np.isfinite(weight).all()
    assert np.abs(weight).max() > 0
    for axis, count in enumerate(spec.experts):
        experts = np.moveaxis(weight, axis, 0).reshape(count, -1)
        scale = np.abs(experts).max()
        assert all(np.abs(one - two).max() > 1e-9 * scale for one, two in pairwise(experts))


def test_cp_starts_around_signs() -> None:
    """Published at one level but for the scale: signs that all experts share change no distribution of W."""
    spec = tm.MuMoESpec(300, 150, (200, 10), tm.CP(60))
    parameters, _ = tm.initialize(spec, 0, "float64")
    first, second = parameters["cores.expert1"], parameters["cores.expert2"]
    for core in (first, second):
        signs = core.mean(axis=0)
        np.testing.assert_allclose(np.abs(signs), 1, rtol=1e-12)
        assert 15 < (signs > 0).sum() < 45
        # No expert is a stronger copy of the mean one.
        np.testing.assert_allclose(core @ signs, signs @ signs, rtol=1e-12)
    # Two levels share what makes the mean square 2: (1 + σ²)² = 2.
    noise = (first - first.mean(axis=0)).ravel()
    assert stats.kstest(noise / (2**0.5 - 1) ** 0.5, "norm").statistic < 0.02
    for name, bound in {"input": (1 / 300) ** 0.5, "output": (3 / 60) ** 0.5}.items():
        assert (
            stats.kstest(parameters[f"cores.{name}"].ravel() / bound, stats.uniform(-1, 2).cdf).statistic
            < 0.02
        )
    assert not any(parameters[f"gate_weights.{level}"].any() for level in (0, 1))


def test_tensor_ring_starts_around_identities_with_signs() -> None:
    spec = tm.MuMoESpec(300, 150, (200, 300), tm.TensorRing((4, 4, 4, 7)))
    parameters, _ = tm.initialize(spec, 0, "float64")
    for name in ("expert1", "expert2"):
        core = parameters[f"cores.{name}"]
        mean = core.mean(axis=0)
        np.testing.assert_allclose(mean @ mean.T, np.eye(4), atol=1e-12)
        np.testing.assert_allclose(np.abs(mean), np.eye(4), atol=1e-12)
        # Off the diagonal too: 1/4 of the variance in each of 4 columns, less the part along the start.
        spread = (core - mean).std(axis=0) / ((2**0.5 - 1) / 4 * 16 / 15) ** 0.5
        np.testing.assert_allclose(spread, np.where(np.eye(4) > 0, 0.75**0.5, 1), atol=0.2)
    for name, bound in {"input": (1 / 300) ** 0.5, "output": (3 / (7 * 4)) ** 0.5}.items():
        assert (
            stats.kstest(parameters[f"cores.{name}"].ravel() / bound, stats.uniform(-1, 2).cdf).statistic
            < 0.02
        )


def test_rows_of_an_identity_have_signs_of_their_own() -> None:
    core = cores(tm.TensorRing((50, 50, 2)), experts=2, features=3, out=2)["expert1"]
    signs = np.diag(core.mean(axis=0))
    assert 10 < (signs > 0).sum() < 40


def test_equal_terms_of_the_published_start_add_up_before_the_square() -> None:
    """The bond between the mixing cores has 3 equal terms: they count as 9 in the output core's fan."""
    network = tm.TensorNetwork("n1 r a, n2 a, i r, r o", r=5, a=3)
    spec = tm.MuMoESpec(4, 200, (2, 2), network, initialization="published")
    bound = (1 / (5 * 9)) ** 0.5
    assert 0.95 * bound < np.abs(tm.initialize(spec)[0]["cores.core4"]).max() <= bound


def test_a_fan_of_the_published_start_need_not_be_whole() -> None:
    """The identity passes on 2 of the 3 values that the next core sums over: 2 · 4 terms over 3."""
    network = tm.TensorNetwork("n a b, i a, b c, c o", a=2, b=3, c=4)
    spec = tm.MuMoESpec(4, 400, 2, network, initialization="published")
    bound = (3 / 8) ** 0.5
    assert 0.95 * bound < np.abs(tm.initialize(spec)[0]["cores.core4"]).max() <= bound


@pytest.mark.parametrize(("experts", "factorization"), SEVERAL, ids=str)
def test_levels_share_a_variance_that_is_twice_the_mean_experts(experts, factorization) -> None:
    whole, mean, levels = [], [], []
    for seed in range(100):
        weight = weight_of(tm.MuMoESpec(24, 20, experts, factorization), seed)
        whole.append((weight**2).mean())
        mean.append((mean_expert(weight) ** 2).mean())
        sides = range(len(experts))
        others = [tuple(axis for axis in sides if axis != level) for level in sides]
        levels.append([weight.mean(axis=axes).var(axis=0).mean() for axes in others])
    assert 1.7 < np.mean(whole) / np.mean(mean) < 2.3
    shares = np.mean(levels, axis=0)
    assert shares.max() < 1.5 * shares.min()


def deviation(spec: tm.MuMoESpec, seed: int) -> float:
    """The mean square of outputs at uniform coefficients, for inputs of variance 1, over nn.Linear's."""
    square = (mean_expert(weight_of(spec, seed)) ** 2).sum(axis=0).mean()
    return float(square * 3 * spec.in_features / (spec.in_features + spec.bias))


@pytest.mark.parametrize(("experts", "factorization"), SEVERAL, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_start_at_the_scale_of_a_linear_layer(experts, factorization, bias: bool) -> None:
    spec = tm.MuMoESpec(24, 20, experts, factorization, bias=bias)
    assert 0.8 < np.mean([deviation(spec, seed) for seed in range(100)]) ** 0.5 < 1.2


@st.composite
def layers_of_networks(draw: st.DrawFn) -> tm.MuMoESpec:
    """Random networks of up to 8 cores, with enough inputs and outputs to average over."""
    levels = draw(st.integers(1, 4))
    network = draw(networks(levels, max_cores=8, max_bonds=6))
    return tm.MuMoESpec(12, 10, (2, 3, 2, 3)[:levels], network, bias=draw(st.booleans()))


@given(layers_of_networks())
@settings(max_examples=12)
def test_outputs_of_random_networks_start_at_the_scale_of_a_linear_layer(spec: tm.MuMoESpec) -> None:
    ratios = [deviation(spec, seed) for seed in range(64)]
    # Narrow networks vary much from seed to seed.
    error = np.std(ratios) / 8
    assert 0.8 < np.mean(ratios) ** 0.5 < 1.2 or abs(np.mean(ratios) - 1) < 5 * error


@given(layers_of_networks())
@settings(max_examples=12)
def test_with_uniform_coefficients_noise_cancels(spec: tm.MuMoESpec) -> None:
    """The mean expert is the network of the cores' own means."""
    parameters, _ = tm.initialize(spec, 0, "float64")
    cores = tm.cores_of(spec, parameters)
    modes = set(tm.expert_modes(spec.levels))
    shared = {
        core.name: cores[core.name].mean(
            axis=tuple(axis for axis, index in enumerate(core.indices) if index in modes), keepdims=True
        )
        for core in spec.network.cores
    }
    alone = spec.replace(experts=(1,) * spec.levels)
    expected = mean_expert(tm.materialize(alone, shared))
    np.testing.assert_allclose(
        mean_expert(tm.materialize(spec, cores)), expected, atol=1e-10 * max(1e-9, np.abs(expected).max())
    )


def train_a_little(spec: tm.MuMoESpec, steps: int) -> np.ndarray:
    """The weight tensor after steps of gradient descent on random targets."""
    layer = tm.build(spec, "torch", seed=0, dtype="float64")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, spec.in_features, generator=generator, dtype=torch.float64)
    y = torch.randn(64, spec.out_features, generator=generator, dtype=torch.float64)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
    return layer.materialize().detach().numpy()


@pytest.mark.parametrize(
    ("experts", "network", "rows", "rank"),
    [
        # A bond between mixing cores: the rank of W unfolded into one side of it and the other.
        ((6, 5), tm.TensorRing((1, 4, 3, 4)), (0,), 4),
        ((6, 5, 4), tm.TensorTrain((4, 6, 3, 4)), (0, 1), 6),
        ((3, 4, 4), tm.TensorNetwork("n1 r, n2 r a, n3 a, i r, r o", r=8, a=3), (2,), 3),
        ((3, 4, 4), tm.TensorNetwork("n1 r, n2 a b, n3 a b, i r, r o", r=8, a=2, b=2), (2,), 4),
    ],
    ids=str,
)
def test_a_bond_between_mixing_cores_uses_its_rank_after_a_few_steps(experts, network, rows, rank) -> None:
    ranks = {}
    for start in ("linear", "published"):
        weight = train_a_little(
            tm.MuMoESpec(7, 6, experts, network, tm.Gate("softmax"), initialization=start), 5
        )
        unfolded = np.moveaxis(weight, rows, range(len(rows)))
        unfolded = unfolded.reshape(int(np.prod(unfolded.shape[: len(rows)])), -1)
        ranks[start] = np.linalg.matrix_rank(unfolded, tol=1e-6 * np.abs(unfolded).max())
    assert ranks["linear"] == rank
    assert ranks["published"] < rank


@pytest.mark.parametrize("factorization", [tm.CP(8), tm.TensorRing((2, 2, 2, 6))], ids=str)
@pytest.mark.parametrize("experts", [(4, 4), (5, 6)], ids=str)
def test_gates_of_every_level_learn(factorization: tm.Factorization, experts: tuple[int, int]) -> None:
    spec = tm.MuMoESpec(7, 6, experts, factorization)
    for start, learns in (("linear", True), ("published", False)):
        layer = tm.build(spec.replace(initialization=start), "torch", seed=0, dtype="float64")
        x = torch.randn(64, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        layer(x).square().mean().backward()
        gradients = [weight.grad.abs().max() for weight in layer.gate_weights]
        assert gradients[0] > 1e-6
        assert (gradients[1] > 1e-6) == learns


@pytest.mark.parametrize("backend", BACKENDS)
def test_coefficients_start_uniform(backend: str) -> None:
    spec = tm.MuMoESpec(7, 6, (5, 4), tm.CP(3))
    ops = tm.get_backend(backend)
    x = ops.from_numpy(np.random.default_rng(0).normal(size=(3, 7)).astype("float32"))
    _, coefficients = tm.build(spec, backend, seed=0)(x, return_coefficients=True)
    for a, n in zip(coefficients, spec.experts, strict=True):
        np.testing.assert_allclose(ops.to_numpy(a), 1 / n, rtol=1e-6)
