"""Blocks whose layers have factorizations and biases of their own, with and without experts."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
from support.frameworks import BACKENDS
from support.strategies import close

import tensormoe as tm
from tensormoe.layers.functional import mix
from tensormoe.layers.shares import experts_index, rank_index

PLAIN = tm.TensorNetwork("i o")
LOW = tm.TensorNetwork("i r, r o", r=2)
DECODER = tm.TensorNetwork("n o, i o")
# Each layer is the only one with experts, or without, in some block.
BLOCKS = {
    "ranks": tm.MuMoEBlockSpec(
        5, 7, 6, (4, 3), (tm.CP(3), tm.TensorRing((2, 2, 3, 4))), bias=(False, True), nonlinearity="relu"
    ),
    "second": tm.MuMoEBlockSpec(5, 7, 6, 4, (PLAIN, DECODER), bias=(True, False), nonlinearity="relu"),
    "first": tm.MuMoEBlockSpec(5, 7, 6, (4, 3), (tm.CP(3), LOW), nonlinearity="silu", input_norm=True),
    "up": tm.MuMoEBlockSpec(5, 7, 6, 4, (PLAIN, tm.CP(3), LOW), gated=True, nonlinearity="silu"),
    "biases": tm.MuMoEBlockSpec(
        5, 7, 6, 4, (PLAIN, tm.CP(3), DECODER), bias=(True, False, False), gated=True, nonlinearity="silu"
    ),
    "up alone": tm.MuMoEBlockSpec(
        5, 7, 6, 4, tm.Dense(), bias=(False, True, True), gated=True, nonlinearity="relu"
    ),
    "down": tm.MuMoEBlockSpec(5, 7, 6, 4, (LOW, PLAIN, tm.Dense()), gated=True, nonlinearity="tanh"),
}
every_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
FUNCTIONS: dict[Any, Any] = {
    "relu": lambda u: np.maximum(u, 0),
    "silu": lambda u: u / (1 + np.exp(-u)),
    "tanh": np.tanh,
}


def compute(block: tm.MuMoEBlockSpec, parameters: Any, coefficients: list[Any], x: Any) -> Any:
    """A block by its definition, from the notation of each layer: one einsum of all that it multiplies."""
    names = ["first", "up", "second"] if block.gated else ["first", "second"]
    families, biases = (
        dict(zip(names, each if isinstance(each, tuple) else (each,) * len(names), strict=True))
        for each in (block.factorization, block.bias)
    )

    def run(name: str, data: Any) -> Any:
        if biases[name]:
            data = np.concatenate([data, np.ones((len(data), 1))], axis=1)
        lines = [core.split() for core in str(families[name].notation(len(block.experts))).split(", ")]
        letters = {index: "abcdefghijkl"[k] for k, index in enumerate(dict.fromkeys(chain(*lines)))}
        cores = ["".join(letters[index] for index in line) for line in lines]
        # Coefficients meet the modes of experts that there are.
        modes = [index for index in sorted(letters) if index[0] == "n"]
        mixed = [f"t{letters[index]}" for index in modes]
        operands = ",".join([f"t{letters['i']}", *mixed, *cores])
        arrays = [array for key, array in parameters.items() if key.startswith(f"{name}.")]
        return np.einsum(f"{operands}->t{letters['o']}", data, *coefficients[: len(modes)], *arrays)

    if block.input_norm:
        centred = x - x.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
        x = scaled * parameters["input_norm.weight"] + parameters["input_norm.bias"]
    hidden = FUNCTIONS[block.nonlinearity](run("first", x))
    return run("second", hidden * run("up", x) if block.gated else hidden)


def draw(block: tm.MuMoEBlockSpec) -> tuple[dict[str, Any], list[Any], Any]:
    """All parameters but the gate's, coefficients that need not sum to 1, and inputs."""
    generator = np.random.default_rng(0)
    parameters = {name: generator.normal(size=shape) for name, shape in block.mixture_shapes.items()}
    return parameters, [generator.normal(size=(3, n)) for n in block.experts], generator.normal(size=(3, 5))


@pytest.mark.parametrize("backend", BACKENDS)
@every_block
def test_every_layer_is_its_own_factorization(block: tm.MuMoEBlockSpec, backend: str) -> None:
    block = block.replace()  # derived anew
    parameters, coefficients, x = draw(block)
    ops = tm.get_backend(backend)
    with ops.double_precision():
        arrays = {name: ops.from_numpy(value) for name, value in parameters.items()}
        y = mix(block, arrays, [ops.from_numpy(a) for a in coefficients], ops.from_numpy(x), backend=ops)
        close(ops.to_numpy(y), compute(block, parameters, coefficients, x), 1e-12)


@every_block
def test_blocks_of_different_layers_are_verified(block: tm.MuMoEBlockSpec) -> None:
    report = tm.verify(block, ("numpy",))
    assert report.passed, report
    assert {check.method for check in report.checks} >= {"proof", "exact", "float", "frameworks", "capacity"}


def test_a_theorem_says_which_layers_take_the_coefficients() -> None:
    text = {name: str(tm.prove(block).chain) for name, block in BLOCKS.items()}
    assert "A coefficient's gradient is the sum of its gradients in both layers." in text["ranks"]
    assert "A coefficient's gradient is that in the second layer." in text["second"]
    assert "A coefficient's gradient is that in the first layer." in text["first"]
    assert "a coefficient's is that in up." in text["up"]
    assert "u[…, o] = Σ(i) W[i, o] z[…, i]," in text["second"]


def test_coefficients_go_to_the_layers_with_experts_alone() -> None:
    block = BLOCKS["second"].replace()
    assert [stage.experts for stage in block.layers.values()] == [(), (4,)]
    assert block.bond_axes["n"] == {"second.core1": 0}
    plan = block.plan(batch_size=10)
    assert plan.macs == 10 * (6 * 7 + 7 * 6 + 4 * 6)
    program = plan.program
    assert program.num_operands == 1 + 1 + 1 + 2
    # The encoder runs before anything reads the coefficients.
    readers = [number for number, each in enumerate(program.instructions) if 1 in each.sources]
    assert min(readers) > 1


def test_one_value_for_all_layers_is_one_for_each() -> None:
    one = tm.MuMoEBlockSpec(5, 7, 6, 4, tm.CP(3), bias=False)
    each = tm.MuMoEBlockSpec(5, 7, 6, 4, [tm.CP(3), tm.CP(3)], bias=(False, False))
    assert each == one
    assert hash(each) == hash(one)
    assert repr(each) == repr(one)
    assert each.factorization == tm.CP(3)
    assert each.bias is False


@every_block
def test_json_keeps_what_each_layer_has(block: tm.MuMoEBlockSpec) -> None:
    again = tm.MuMoEBlockSpec.from_json(block.to_json())
    assert again == block
    assert again.layers == block.layers
    assert tm.MuMoEBlockSpec.from_dict(block.to_dict()).factorization == block.factorization
    assert repr(block.factorization) in repr(block)


def test_another_number_of_values_than_of_layers_is_refused() -> None:
    for option in ({"factorization": (tm.CP(3),) * 3}, {"bias": (True,)}):
        with pytest.raises(tm.TensorMoEError, match="or one for each: first, second"):
            BLOCKS["ranks"].replace(**option)
    with pytest.raises(tm.TensorMoEError, match="or one for each: first, up, second"):
        BLOCKS["ranks"].replace(gated=True)
    with pytest.raises(tm.TensorMoEError, match=r"factorization: received 'i o'; pass a factorization"):
        BLOCKS["ranks"].replace(factorization=("i o", tm.CP(3)))
    with pytest.raises(tm.TensorMoEError, match="bias: received 1; pass True or False"):
        BLOCKS["ranks"].replace(bias=(1, True))
    with pytest.raises(tm.TensorMoEError, match=r"factorization: received \(CP"):
        tm.MuMoESpec(5, 6, 4, (tm.CP(3),))  # type: ignore[arg-type]


def test_a_block_needs_experts_in_some_layer() -> None:
    with pytest.raises(tm.TensorMoEError, match="mode 'n' is in no core"):
        tm.MuMoEBlockSpec(5, 7, 6, 4, (PLAIN, LOW))


def test_matching_grows_all_layers_to_one_rank_and_leaves_those_without_bonds() -> None:
    block = tm.MuMoEBlockSpec(64, 96, 64, 4, (tm.CP(1), tm.TensorRing((2, 3, 1))))
    matched = block.matched(parameters=10_000)
    first, second = matched.factorization
    assert first.rank == second.ranks[2]
    assert second.ranks[:2] == (2, 3)
    assert matched.num_parameters <= 10_000
    larger = block.replace(factorization=(tm.CP(first.rank + 1), tm.TensorRing((2, 3, first.rank + 1))))
    assert larger.num_parameters > 10_000
    plain = block.replace(factorization=(PLAIN, tm.CP(1))).matched(parameters=20_000)
    assert plain.factorization[0] == PLAIN
    assert plain.factorization[1].rank > 1
    named = block.matched(parameters=10_000, bond="r3")
    assert named.factorization[0] == tm.CP(1)
    with pytest.raises(tm.TensorMoEError, match="bond: received 'q'; choose one of 'r', 'r1', 'r2', 'r3'"):
        block.matched(parameters=10_000, bond="q")
    with pytest.raises(tm.TensorMoEError, match="it has no bond to grow"):
        BLOCKS["second"].matched(parameters=10_000)


def test_layers_start_at_the_scale_of_linear_layers() -> None:
    """What comes out of the encoder, and of the whole, is as large as that of two linear layers."""
    wide = tm.MuMoEBlockSpec(48, 64, 32, 16, (PLAIN, DECODER), nonlinearity="identity", bias=False)
    x = np.random.default_rng(0).normal(size=(50, 48))
    squares = []
    for seed in range(20):
        parameters, state = tm.initialize(wide, seed, "float64")
        squares.append(np.mean(tm.apply(wide, parameters, x, state=state).y ** 2))
    assert 0.8 < np.mean(squares) * 9 < 1.25


def test_upcycled_layers_without_experts_are_the_dense_ones() -> None:
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(5, 7)), generator.normal(size=(7, 6))]
    block = tm.MuMoEBlockSpec(5, 7, 6, 4, (PLAIN, tm.CP(16)), nonlinearity="relu")
    parameters, state = tm.upcycle(weights, block, bias=[np.ones(7), np.ones(6)], noise=0.1, dtype="float64")
    np.testing.assert_array_equal(parameters["first.core1"], np.concatenate([weights[0], np.ones((1, 7))]))
    x = generator.normal(size=(3, 5))
    dense = np.maximum(x @ weights[0] + 1, 0) @ weights[1] + 1
    close(tm.apply(block, parameters, x, state=state).y, dense, 1e-9)
    fitted = tm.fit(weights[0], block.layers["first"])
    assert fitted.cores["core1"].shape == (6, 7)


def test_only_an_index_of_every_layer_is_shared_out() -> None:
    assert rank_index(tm.MuMoEBlockSpec(5, 7, 6, 4, (tm.CP(4), tm.CP(6)))) == "r"
    with pytest.raises(tm.TensorMoEError, match="layer second has no index 'r' to share out"):
        rank_index(BLOCKS["ranks"])
    with pytest.raises(tm.TensorMoEError, match="layer first has no index 'n' to share out"):
        experts_index(BLOCKS["second"])
