"""State dicts of the published code, laid out as it lays them out, against its equations in NumPy."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints.examples import same
from support.activation_oracles import entmax
from support.frameworks import BACKENDS, optional

import tensormoe as tm

torch = optional("torch")
SIZE_IN, HIDDEN, SIZE_OUT, RANK = 5, 6, 4, 3
RING = (2, 3, 2, 4)
Dict = dict[str, np.ndarray]


def draw_factors(family: str, dims: tuple[int, ...], stem: str, normal: Any) -> Dict:
    """CP: (size, rank); ring: (rank, size, next rank), where the last closes the ring."""
    ranks = RING[: len(dims)]
    shapes = [(size, RANK) for size in dims]
    if family == "ring":
        shapes = [
            (r, size, after) for r, size, after in zip(ranks, dims, (*ranks[1:], ranks[0]), strict=True)
        ]
    return {f"{stem}.factors.{number}": normal(size=shape) for number, shape in enumerate(shapes)}


def draw_published(
    family: str, experts: tuple[int, ...], block: bool, bias: bool, batch: bool, norm: bool = False
) -> Dict:
    normal = np.random.default_rng(0).normal
    first = draw_factors(family, (*experts, SIZE_IN + bias, HIDDEN if block else SIZE_OUT), "MuMoE", normal)
    second = draw_factors(family, (*experts, HIDDEN + bias, SIZE_OUT), "MuMoE2", normal) if block else {}
    weights = {f"projs.{level}": normal(size=(SIZE_IN, n)) for level, n in enumerate(experts)}
    statistics: Dict = {}
    for level, n in enumerate(experts if batch else ()):
        statistics[f"bn.{level}.running_mean"] = normal(size=n)
        statistics[f"bn.{level}.running_var"] = normal(size=n) ** 2 + 0.5
        statistics[f"bn.{level}.num_batches_tracked"] = np.array(7)
    scaled = {f"input_ln.{each}": normal(size=SIZE_IN) for each in ("weight", "bias")} if norm else {}
    return first | second | weights | statistics | scaled


# The equations of the paper and its code, for one vector.


def compute_gate(state_dict: Dict, x: np.ndarray) -> list[np.ndarray]:
    """a_e = entmax15(norm(x G_e))."""
    coefficients = []
    for level in range(sum(name.startswith("projs.") for name in state_dict)):
        logits = x @ state_dict[f"projs.{level}"]
        mean, variance = logits.mean(), logits.var()
        if "bn.0.running_mean" in state_dict:
            mean, variance = (state_dict[f"bn.{level}.running_{each}"] for each in ("mean", "var"))
        coefficients.append(entmax((logits - mean) / np.sqrt(variance + 1e-5), 1.5))
    return coefficients


def compute_layer(state_dict: Dict, stem: str, a: list[np.ndarray], z: np.ndarray) -> np.ndarray:
    """CP: U_O [(∗_e U_eᵀ a_e) ∗ (U_Iᵀ z)]; ring: tr(A_1 … A_E B 𝒰_O[:, o, :])."""
    *factors, rows, last = (
        state_dict[f"{stem}.factors.{k}"]
        for k in range(sum(name.startswith(f"{stem}.") for name in state_dict))
    )
    extended = np.append(z, 1.0)[: rows.shape[rows.ndim - 2]]
    if rows.ndim == 2:
        mixed = np.prod([factor.T @ each for factor, each in zip(factors, a, strict=True)], axis=0)
        return last @ (mixed * (rows.T @ extended))
    product = np.eye(factors[0].shape[0])
    for core, each in zip((*factors, rows), (*a, extended), strict=True):
        product = product @ np.einsum("rns,n->rs", core, each)
    return np.array([np.trace(product @ last[:, o, :]) for o in range(last.shape[1])])


def compute(state_dict: Dict, x: np.ndarray) -> np.ndarray:
    a = compute_gate(state_dict, x)
    if "MuMoE2.factors.0" not in state_dict:
        return compute_layer(state_dict, "MuMoE", a, x)
    z = x
    if "input_ln.weight" in state_dict:
        z = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * state_dict["input_ln.weight"] + state_dict[
            "input_ln.bias"
        ]
    hidden = compute_layer(state_dict, "MuMoE", a, z)
    gelu = np.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in hidden])
    return compute_layer(state_dict, "MuMoE2", a, gelu)


@pytest.mark.parametrize("family", ["cp", "ring"])
@pytest.mark.parametrize("experts", [(7,), (3, 2)], ids=["one level", "two levels"])
@pytest.mark.parametrize("block", [False, True], ids=["layer", "block"])
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("batch", [False, True], ids=["layer norm", "batch norm"])
def test_a_published_layer_computes_its_equations(
    family: str, experts: tuple[int, ...], block: bool, bias: bool, batch: bool
) -> None:
    state_dict = draw_published(family, experts, block, bias, batch, norm=block and bias)
    saved = tm.from_published(state_dict)
    assert saved.spec.experts == experts
    assert (saved.spec.bias, saved.spec.gate.norm) == (bias, "batch" if batch else "layer")
    assert {array.dtype.name for array in saved.arrays().values()} == {"float64"}
    x = np.random.default_rng(1).normal(size=(20, SIZE_IN))
    y = saved.build("numpy")(x)
    expected = np.stack([compute(state_dict, row) for row in x])
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12 * abs(expected).max())


EXAMPLE = draw_published("ring", (3, 2), block=True, bias=True, batch=True, norm=True)


@pytest.mark.parametrize("front", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_wrappers_put_in_front_is_left_out(front: str) -> None:
    wrapped = {front + name: array for name, array in EXAMPLE.items()}
    assert same(tm.from_published(wrapped), tm.from_published(EXAMPLE))


def test_one_layer_of_a_model_is_found_by_its_name() -> None:
    model = {"module.head.weight": np.ones((3, 3))}
    for number in (0, 1):
        model |= {
            f"module.h.{number}.mlp._orig_mod.{name}": array + number for name, array in EXAMPLE.items()
        }
    for prefix in ("h.1.mlp", "h.1.mlp."):
        expected = {name: array + 1 for name, array in EXAMPLE.items()}
        assert same(tm.from_published(model, prefix=prefix), tm.from_published(expected))
    with pytest.raises(tm.TensorMoEError, match=r"to read a layer of a model, pass prefix='h\.0\.mlp"):
        tm.from_published(model)
    with pytest.raises(
        tm.TensorMoEError, match=r"^prefix: received 'h\.7'; no name starts with it; .*h\.0\.mlp"
    ):
        tm.from_published(model, prefix="h.7")


def test_what_tensors_do_not_show_is_said() -> None:
    saved = tm.from_published(EXAMPLE, activation=tm.Activation("top_k", k=1), nonlinearity="relu")
    assert saved.spec.gate.activation == tm.Activation("top_k", k=1)
    assert saved.spec.nonlinearity == "relu"
    with pytest.raises(tm.TensorMoEError, match="nonlinearity"):
        tm.from_published(EXAMPLE, nonlinearity="gloo")


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_tensors_keep_their_type_and_may_need_gradients(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {
        name: torch.nn.Parameter(torch.from_numpy(np.asarray(array)).bfloat16())
        for name, array in EXAMPLE.items()
        if not name.endswith("tracked")
    }
    tensors |= {f"bn.{level}.num_batches_tracked": torch.tensor(3) for level in (0, 1)}
    saved = tm.from_published(tensors)
    assert {array.dtype.name for array in saved.arrays().values()} == {"bfloat16"}
    tm.save(saved, tmp_path / "layer")
    block = tm.load(tmp_path / "layer", "torch")
    assert block.second["output"].dtype == torch.bfloat16
    assert torch.equal(block.gate_weights[1], tensors["projs.1"])


def test_the_layers_of_a_block_may_have_different_ranks() -> None:
    draw = np.random.default_rng(0).normal
    shapes = {
        "projs.0": (5, 4),
        "MuMoE.factors.0": (4, 3),
        "MuMoE.factors.1": (6, 3),
        "MuMoE.factors.2": (7, 3),
    }
    shapes |= {"MuMoE2.factors.0": (4, 2), "MuMoE2.factors.1": (8, 2), "MuMoE2.factors.2": (6, 2)}
    arrays = {name: draw(size=shape) for name, shape in shapes.items()}
    saved = tm.from_published(arrays)
    assert saved.spec.factorization == (tm.CP(3), tm.CP(2))
    np.testing.assert_array_equal(saved.arrays()["second.output"], arrays["MuMoE2.factors.2"].T)


def without(*names: str) -> Dict:
    return {name: array for name, array in EXAMPLE.items() if name not in names}


def change(name: str, array: Any) -> Dict:
    return EXAMPLE | {name: array}


@pytest.mark.parametrize(
    ("state_dict", "match"),
    [
        (None, "state_dict: received None"),
        ({}, r"missing: .*'MuMoE\.factors\.0'.*'projs\.0'"),
        ({"model": EXAMPLE}, "missing: .*unknown: 'model'"),
        ({1: EXAMPLE["projs.0"]}, "state_dict: received"),
        (without("projs.0"), r"missing: 'projs\.0'"),
        (without("projs.1"), r"unknown: .*'MuMoE\.factors\.3'"),
        (without("MuMoE.factors.1"), r"missing: 'MuMoE\.factors\.1'"),
        (without("MuMoE2.factors.3"), r"missing: 'MuMoE2\.factors\.3'"),
        (without("bn.1.running_var"), r"missing: 'bn\.1\.running_var'"),
        (without("input_ln.bias"), r"missing: 'input_ln\.bias'"),
        (change("projs.02", np.ones((SIZE_IN, 2))), r"unknown: 'projs\.02'"),
        (change("head.weight", np.ones((SIZE_IN, 2))), r"unknown: 'head\.weight'"),
        (
            without(*(name for name in EXAMPLE if "MuMoE2" in name)),
            r"unknown: 'input_ln\.weight', 'input_ln\.bias'",
        ),
        (change("projs.0", np.ones(SIZE_IN)), r"state_dict\['projs\.0'\]: received \(5,\)"),
        (change("projs.1", np.ones((SIZE_IN + 1, 2))), r"state_dict\['projs\.1'\]: .*shape \(5, 2\)"),
        (change("projs.0", np.ones((SIZE_IN, 2))), r"\['bn\.0\.running_mean'\]: .*shape \(2,\)"),
        (change("MuMoE.factors.0", np.ones((2, 3))), r"state_dict\['MuMoE\.factors\.0'\]: .*pass factors"),
        (
            change("MuMoE.factors.1", np.ones((4, 2, 2))),
            r"state_dict\['MuMoE\.factors\.0'\]: .*pass an array",
        ),
        (change("MuMoE.factors.2", np.ones((2, SIZE_IN + 2, 4))), r"factors\.2'\]: .*shape \(2, 6, 4\)"),
        (change("MuMoE2.factors.2", np.ones((2, HIDDEN, 4))), r"MuMoE2\.factors\.2'\]: .*shape \(2, 7, 4\)"),
        (change("MuMoE.factors.3", np.ones((4, HIDDEN, 3))), r"factors\.3'\]: .*shape \(4, 6, 2\)"),
        (change("bn.0.running_mean", np.ones(2)), r"bn\.0\.running_mean'\]: .*shape \(3,\)"),
        (change("input_ln.weight", np.ones(SIZE_IN + 1)), r"input_ln\.weight'\]: .*shape \(5,\)"),
        (change("projs.0", np.ones((SIZE_IN, 3), int)), r"state_dict\['projs\.0'\]: .*floating-point"),
        (change("projs.0", "text"), r"state_dict\['projs\.0'\]: .*floating-point"),
        (change("projs.0", {"a": 1}), "nested"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_no_published_layer_is_refused(state_dict: Mapping[str, Any], match: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=match):
        tm.from_published(state_dict)
