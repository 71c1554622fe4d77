"""Blocks whose layers share cores: the same as separate cores of equal values, and one parameter."""

import re
from pathlib import Path

import numpy as np
import pytest
from support.frameworks import BACKENDS
from support.strategies import close

import tensormoe as tm
from tensormoe.layers.initialization import recipes
from tensormoe.layers.parameters import SHARED, split_name
from tensormoe.layers.shares import experts_index, rank_index
from tensormoe.typing import NumPyArray

# Expert cores of a family; labels, in parts of sums; and a core that is read the other way round.
RING = tm.TensorRing(ranks=(2, 3, 4))
SUMS = (tm.TensorNetwork("A: n r, i r, r o + i o", r=5), tm.TensorNetwork("A: n s, i s, s o", s=5))
TURNED = (tm.TensorNetwork("n r, A: i r, B: r o", r=5), tm.TensorNetwork("n r, A: o r, B: r i", r=5))
PLAIN = (tm.TensorNetwork("A: i r, r o", r=5), tm.TensorNetwork("r i, A: o r", r=5))
BLOCKS = {
    "family": tm.MuMoEBlockSpec(6, 7, 5, 4, tm.CP(rank=5), shared="expert1"),
    "levels": tm.MuMoEBlockSpec(6, 7, 5, (4, 3), tm.CP(rank=5), shared=("expert1", "expert2")),
    "sums": tm.MuMoEBlockSpec(6, 7, 5, 4, SUMS, shared="A", output_bias=True),
    "turned": tm.MuMoEBlockSpec(6, 7, 6, 4, TURNED, bias=False, shared=("A", "B")),
    "gated": tm.MuMoEBlockSpec(6, 7, 5, 4, RING, gated=True, shared="expert1", nonlinearity="silu"),
    "branches": tm.MuMoEBlockSpec(
        6, 7, 5, 4, (RING, RING, tm.Dense()), gated=True, shared=("input", "expert1"), input_norm=True
    ),
    "all": tm.MuMoEBlockSpec(6, 6, 6, 4, tm.CP(rank=5), shared=("expert1", "input", "output")),
}
every = pytest.mark.parametrize("name", BLOCKS)


def separate(block: tm.MuMoEBlockSpec, arrays: dict[str, NumPyArray]) -> dict[str, NumPyArray]:
    """The arrays of the same block with cores of its own in every layer, equal to those that are shared."""
    own = tm.initialize(block.replace(shared=()))[0]
    member = {name: join(name) for name in own}
    return {name: arrays[name] if name in arrays else arrays[member[name]] for name in own}


def join(name: str) -> str:
    return f"{SHARED}.{split_name(name)[1]}"


def draw(block: tm.MuMoEBlockSpec) -> tuple[dict[str, NumPyArray], NumPyArray, list[NumPyArray]]:
    generator = np.random.default_rng(0)
    initial, _ = tm.initialize(block, 0, "float64")
    arrays = {name: value + generator.normal(size=value.shape) for name, value in initial.items()}
    x = generator.normal(size=(3, block.in_features))
    return arrays, x, [generator.dirichlet(np.ones(n), 3) for n in block.experts]


@every
def test_the_output_is_that_of_separate_cores(name: str) -> None:
    block = BLOCKS[name]
    arrays, x, _ = draw(block)
    expected = tm.apply(block.replace(shared=()), separate(block, arrays), x).y
    close(tm.apply(block, arrays, x).y, expected, 1e-12)


@every
def test_a_gradient_is_the_sum_of_those_of_separate_cores(name: str) -> None:
    block = BLOCKS[name]
    arrays, x, coefficients = draw(block)
    other, own = block.replace(shared=()), separate(block, arrays)
    cotangent = np.random.default_rng(1).normal(size=(3, block.out_features))
    ops = tm.get_backend("numpy")

    def gradients(spec: tm.MuMoEBlockSpec, arrays: dict[str, NumPyArray]) -> dict[str, NumPyArray]:
        operands = (x, *coefficients, *(arrays[core] for core in spec.core_names))
        names = ("x", *(f"a{level}" for level in range(spec.levels)), *spec.core_names)
        return dict(zip(names, spec.program_for(3).vjp(ops, operands, cotangent), strict=True))

    apart, summed = gradients(other, own), {}
    for core, gradient in apart.items():
        full = core if core in arrays or "." not in core else join(core)
        summed[full] = summed.get(full, 0) + gradient
    for core, gradient in gradients(block, arrays).items():
        close(gradient, summed[core], 1e-11)


@every
def test_a_shared_core_is_counted_once(name: str) -> None:
    block = BLOCKS[name]
    arrays, _ = tm.initialize(block)
    assert block.num_parameters == sum(value.size for value in arrays.values())
    apart = block.replace(shared=())
    again = sum(
        (sum(name in stage.joint for stage in block.layers.values()) - 1) * arrays[f"shared.{name}"].size
        for name in block.shared
    )
    assert again
    assert apart.num_parameters - block.num_parameters == again
    assert apart.plan(16).parameters - block.plan(16).parameters == again


def test_steps_in_common_are_taken_and_counted_once() -> None:
    block = BLOCKS["family"]
    apart, plan = block.replace(shared=()).plan(16), block.plan(16)
    assert apart.macs - plan.macs == 16 * 4 * 5
    # The coefficients times the expert core.
    assert len(apart.program.instructions) - len(plan.program.instructions) == 1
    assert apart.common == 0


@every
def test_proof_exact_arithmetic_and_rounding_hold(name: str) -> None:
    report = tm.verify(BLOCKS[name], "numpy", methods=("proof", "exact", "float"))
    assert report.passed, str(report)


@pytest.mark.parametrize("name", ["gated", "turned"])
def test_frameworks_agree(name: str) -> None:
    # JAX compiles for seconds; its gradients are those of the same program.
    backends = [backend for backend in BACKENDS if backend != "jax"]
    report = tm.verify(BLOCKS[name], backends, methods="frameworks")
    assert report.passed, str(report)


def test_a_sparse_block_reads_slices_of_a_shared_core() -> None:
    gate = tm.Gate(tm.Activation("top_k", k=2))
    block = tm.MuMoEBlockSpec(6, 7, 5, 32, tm.CP(rank=5), gate, shared="expert1")
    assert tm.verify(block, methods="proof").passed
    arrays, x, _ = draw(block)
    expected = tm.apply(block.replace(shared=()), separate(block, arrays), x).y
    close(tm.apply(block, arrays, x).y, expected, 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["gated", "all"])
def test_modules_hold_one_array_and_give_it_to_all_layers(backend: str, name: str) -> None:
    block = BLOCKS[name]
    layer = tm.build(block, backend, seed=3)
    assert list(layer.shared) == [*block.shared]
    assert [core for core in layer.first if core in layer.shared] == []
    drawn = separate(block, tm.initialize(block, 3)[0])
    weights = [
        tm.materialize(stage, tm.cores_of(block.replace(shared=()), drawn, prefix))
        for prefix, stage in block.replace(shared=()).layers.items()
    ]
    ops = tm.get_backend(backend)
    for own, expected in zip(layer.materialize(), weights, strict=True):
        close(ops.to_float64(own), expected, 1e-5)
    one = ops.from_float64(np.eye(4)[:1], "float32")
    for own, expected in zip(layer.merge([one]), weights, strict=True):
        close(ops.to_float64(own)[0], expected[0], 1e-5)


def test_merged_weights_give_the_mixture() -> None:
    block = BLOCKS["gated"].replace(gate=None)
    arrays, x, coefficients = draw(block)
    y = tm.apply_merged(block, arrays, x[:, None], coefficients)
    close(y[:, 0], tm.apply(block, arrays, x, coefficients=coefficients).y, 1e-12)


def test_files_hold_it_once(tmp_path: Path) -> None:
    block = BLOCKS["gated"]
    layer = tm.build(block, "numpy", seed=0)
    tm.save(layer, tmp_path / "block")
    for backend in BACKENDS:
        again = tm.load(tmp_path / "block", backend)
        assert again.spec == block
        assert [*again.arrays()] == [*layer.arrays()]
    assert tm.spec_from_json(block.to_json()) == block


def test_it_starts_at_the_mean_variance_of_its_layers() -> None:
    block = tm.MuMoEBlockSpec(6, 24, 6, (), PLAIN, gate=None, bias=False)
    apart, joined = recipes(block), recipes(block.replace(shared="A"))
    wanted = apart["first.A"].bound * apart["second.A"].bound
    assert joined["shared.A"].bound ** 2 == pytest.approx(wanted)
    assert joined["shared.A"].bound != pytest.approx(apart["first.A"].bound)


def test_the_output_starts_at_the_scale_of_separate_cores() -> None:
    block = tm.MuMoEBlockSpec(48, 192, 48, (), PLAIN, gate=None, bias=False, nonlinearity="identity")
    x = np.random.default_rng(0).normal(size=(64, 48))
    scales = [
        np.std(
            [
                tm.apply(spec, tm.initialize(spec, seed)[0], x.astype("float32"), coefficients=()).y
                for seed in range(6)
            ]
        )
        for spec in (block, block.replace(shared="A"))
    ]
    assert 0.7 <= scales[1] / scales[0] <= 1.4


def test_a_core_of_one_layer_starts_as_if_the_others_were_not_there() -> None:
    tied = tm.TensorNetwork("n r, A: i r, A: o r", r=3)
    block = tm.MuMoEBlockSpec(5, 5, 5, 4, tied, bias=False)
    alone = recipes(tm.MuMoESpec(5, 5, 4, tied, bias=False))["cores.A"]
    assert [recipes(block)[f"{layer}.A"].bound for layer in block.layers] == [alone.bound] * 2


def test_matching_grows_what_a_shared_core_ties_alike() -> None:
    # Alone, the second layer's bond would stop at 5.
    networks = (
        tm.TensorNetwork("A: n r, i r s, s o", r=2, s=2),
        tm.TensorNetwork("A: n t, i t u, u o", t=2, u=2),
    )
    block = tm.MuMoEBlockSpec(6, 7, 5, 4, networks, shared="A")
    first, second = block.matched(2_000, bond="r").factorization
    assert first.bonds(1)["r"] == second.bonds(1)["t"] > 2
    assert first.bonds(1)["s"] == 2
    grown = BLOCKS["family"].matched(1_000)
    assert (
        grown.num_parameters
        <= 1_000
        < grown.replace(factorization=tm.CP(grown.factorization.rank + 1)).num_parameters
    )


def test_matching_refuses_a_bond_that_is_tied_to_a_mode() -> None:
    networks = tm.TensorNetwork("n i r, A: r o", r=7), tm.TensorNetwork("n i o + A: i o")
    block = tm.MuMoEBlockSpec(6, 7, 7, 4, networks, bias=False, shared="A")
    with pytest.raises(tm.TensorMoEError, match="makes it as large as mode 'i' of second"):
        block.matched(10_000)


REFUSALS = {
    "another shape": (
        {"shared": "input"},
        "has the shape (7, 5) in first and (8, 5) in second (a bias adds a row to i): make sizes, ranks",
    ),
    "one layer": (
        {"shared": "A", "factorization": (tm.TensorNetwork("n r, A: i r, r o", r=2), tm.CP(2))},
        "only layer first has a core of this name: give it to the other layers' cores, too",
    ),
    "unknown": ({"shared": ("B",)}, "choose one of 'expert1', 'input', 'output'"),
    "not names": ({"shared": 3}, 'pass the names of cores, such as ("A",)'),
    "fixed": (
        {
            "shared": "H",
            "factorization": tm.TensorNetwork("n q, H: n q, i q, q o", q=4, fixed={"H": "hadamard"}),
        },
        "it is fixed, so every layer has its own values of it and nothing is trained: leave it out",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_shared_is_refused_with_a_remedy(case: str) -> None:
    changes, remedy = REFUSALS[case]
    with pytest.raises(tm.TensorMoEError, match=r"^shared: ") as caught:
        BLOCKS["family"].replace(**({"shared": ()} | changes))
    assert remedy in str(caught.value)


def test_shares_of_ranks_and_experts_are_those_of_all_layers() -> None:
    assert (rank_index(BLOCKS["family"]), experts_index(BLOCKS["family"])) == ("r", "n")
    with pytest.raises(tm.TensorMoEError, match=re.escape("write it alike in all")):
        rank_index(BLOCKS["turned"])


def test_what_treats_layers_one_by_one_is_refused() -> None:
    block = BLOCKS["family"].replace(gate=tm.Gate("softmax"))
    with pytest.raises(tm.TensorMoEError, match="each starts as another matrix: upcycle without shared="):
        tm.upcycle([np.ones((6, 7)), np.ones((7, 5))], block)
    factors = [np.ones((n, 5)) for n in (4, 7, 7)]
    with pytest.raises(tm.TensorMoEError, match="factors are one layer's: build it without shared="):
        tm.from_tensorly(block.layers["first"], (None, factors), "first")


def test_a_theorem_says_what_is_one_array() -> None:
    proof = str(tm.prove(BLOCKS["gated"]))
    assert "One array is used more than once: expert1″ is expert1, expert1′ is expert1." in proof


def test_measures_and_ablations_are_those_of_separate_cores() -> None:
    block = BLOCKS["gated"]
    arrays, x, _ = draw(block)
    apart = tm.SavedLayer(block.replace(shared=()), separate(block, arrays), {})
    joint = tm.SavedLayer(block, arrays, {})
    expected, actual = (tm.analysis.ablate(each, x) for each in (apart, joint))
    for one, other in zip(np.atleast_1d(actual), np.atleast_1d(expected), strict=True):
        close(one, other, 1e-11)
