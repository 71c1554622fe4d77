"""Blocks by their definition, each layer as one sum of products over all indices at once."""

import math
import string
from collections.abc import Callable
from typing import Any

import numpy as np
from support.frameworks import optional

import tensormoe as tm

torch = optional("torch")

# By their definitions, here and in PyTorch's words.
ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "gelu": (
        lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
        torch.nn.functional.gelu,
    ),
    "gelu_tanh": (
        lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
        lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    ),
    "quick_gelu": (lambda x: x / (1 + np.exp(-1.702 * x)), lambda x: x * torch.sigmoid(1.702 * x)),
    "relu": (lambda x: np.where(x > 0, x, 0), torch.relu),
    "relu2": (lambda x: np.where(x > 0, x * x, 0), lambda x: torch.relu(x) ** 2),
    "silu": (lambda x: x / (1 + np.exp(-x)), torch.nn.functional.silu),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), torch.sigmoid),
    "tanh": (np.tanh, torch.tanh),
    "identity": (lambda x: x, lambda x: x),
}


def operands_of(block: tm.MuMoEBlockSpec, tokens: int = 3) -> list[np.ndarray]:
    """x, the coefficients, and the cores of all layers."""
    generator = np.random.default_rng(0)
    coefficients = [(tokens, n) for n in block.experts]
    cores = [shape for layer in block.layers.values() for shape in layer.network.shapes.values()]
    shapes = [(tokens, block.in_features), *coefficients, *cores]
    return [generator.normal(size=shape) for shape in shapes]


def parts_of(block: tm.MuMoEBlockSpec, operands: list[Any]) -> tuple[Any, list[Any], list[list[Any]]]:
    """x, the coefficients, and the cores of each layer."""
    x, *rest = operands
    coefficients, cores = rest[: block.levels], rest[block.levels :]
    size = len(cores) // len(block.layers)
    return x, coefficients, [cores[start : start + size] for start in range(0, len(cores), size)]


def defined(
    block: tm.MuMoEBlockSpec,
    operands: list[Any],
    einsum: Callable[..., Any],
    with_one: Callable[[Any], Any],
    activation: Callable[[Any], Any],
) -> Any:
    """The output: Llama's down(f(gate(x)) ∗ up(x)) if the block is gated, otherwise down(f(gate(x)))."""
    x, coefficients, cores = parts_of(block, operands)

    def layer(number: int, features: Any) -> Any:
        network = [*block.layers.values()][number].network
        letters = dict(zip(network.sizes, string.ascii_letters, strict=False))
        *experts, i, o = (letters[mode] for mode in network.modes)
        mixed = [f"Z{expert}" for expert in experts] + [f"Z{i}"]
        z = with_one(features) if block.bias else features
        total, following = 0.0, iter(cores[number])
        for part in str(network).split(" + "):
            terms = ["".join(letters[index] for index in core.split()) for core in part.split(", ")]
            own = [next(following) for _ in terms]
            # A term without the input mode is a bias.
            data = [z] if any(i in term for term in terms) else []
            factors = [*own, *coefficients, *data]
            total = total + einsum(f"{','.join([*terms, *mixed][: len(factors)])}->Z{o}", *factors)
        return total

    if block.gated:
        return layer(2, activation(layer(0, x)) * layer(1, x))
    return layer(1, activation(layer(0, x)))


def in_numpy(block: tm.MuMoEBlockSpec, operands: list[np.ndarray]) -> np.ndarray:
    def with_one(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, np.ones((len(x), 1))], axis=1)

    return defined(block, operands, np.einsum, with_one, ACTIVATIONS[block.nonlinearity][0])


def in_torch(block: tm.MuMoEBlockSpec, operands: list[np.ndarray], cotangent: np.ndarray) -> list[np.ndarray]:
    """Gradients of the definition by automatic differentiation."""

    def with_one(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x.new_ones(len(x), 1)], dim=1)

    leaves = [torch.tensor(operand, requires_grad=True) for operand in operands]
    y = defined(block, leaves, torch.einsum, with_one, ACTIVATIONS[block.nonlinearity][1])
    return [g.numpy() for g in torch.autograd.grad(y, leaves, torch.tensor(cotangent))]
