"""The same training run in PyTorch or in JAX: same block, same optimizer, same order of data."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np

import tensormoe as tm

from .data import Array, Digits

Progress = Callable[[], None]
Train: TypeAlias = "Callable[[tm.Spec, Digits, float, Progress], Run]"

# Adam's default divides by gradients that are nothing but rounding errors, and so amplifies the difference
# between any two machines to the size of a step; a larger ε leaves such gradients alone.
EPSILON, DECAY = 1e-4, 0.3


@dataclass(frozen=True)
class Run:
    """The results of a training run.

    Args:
        losses: the cross-entropy of every step.
        logits: (T, 10), of the test images, after training.
        coefficients: (T, N), of the test images.
        device: where it ran.
    """

    losses: Array
    logits: Array
    coefficients: Array
    device: str

    def accuracy(self, labels: Array) -> float:
        """The share of test images whose largest logit is their label's."""
        return float(np.mean(np.argmax(self.logits, axis=1) == labels))

    def loss(self, labels: Array) -> float:
        """The mean cross-entropy of the test images."""
        shifted = self.logits - self.logits.max(axis=1, keepdims=True)
        log_likelihood = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-np.mean(log_likelihood[np.arange(len(labels)), labels]))


def installed_trainers() -> "dict[str, Train]":
    """The training functions whose packages are installed, by the framework's title.

    Raises:
        TensorMoEError: none of them is.
    """
    needed = {"PyTorch": (train_torch, ("torch",)), "JAX": (train_jax, ("jax", "flax", "optax"))}
    trainers: dict[str, Train] = {
        title: train for title, (train, names) in needed.items() if all(map(find_spec, names))
    }
    if not trainers:
        remedy = 'the demo trains in PyTorch or JAX: pip install "tensormoe[demo,torch]", or jax instead'
        raise tm.TensorMoEError("frameworks", None, remedy)
    return trainers


def train_torch(spec: tm.Spec, digits: Digits, rate: float, progress: Progress) -> Run:
    """Train a block with `torch.optim.AdamW`, on a GPU if there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, str(digits.x.dtype))
    block = tm.build(spec, backend="torch", seed=0, device=device, dtype=dtype)
    optimizer = torch.optim.AdamW(block.parameters(), lr=rate, eps=EPSILON, weight_decay=DECAY)
    x, labels = (torch.from_numpy(array).to(device) for array in (digits.x, digits.labels))
    losses = []
    for batch in torch.from_numpy(digits.batches).to(device):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(block(x[batch]), labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.detach())
        progress()
    block.eval()
    with torch.no_grad():
        x_test = torch.from_numpy(digits.x_test).to(device)
        logits, (coefficients,) = block(x_test, return_coefficients=True)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return Run(torch.stack(losses).cpu().numpy(), logits.cpu().numpy(), coefficients.cpu().numpy(), name)


def train_jax(spec: tm.Spec, digits: Digits, rate: float, progress: Progress) -> Run:
    """Train a block with `optax.adamw`, on JAX's default device."""
    from tensormoe_jax import backend

    # 64-bit mode for this run only, and only if the data needs it.
    if digits.x.dtype == np.float64:
        with backend.double_precision():
            return _train_jax(spec, digits, rate, progress)
    return _train_jax(spec, digits, rate, progress)


def _train_jax(spec: tm.Spec, digits: Digits, rate: float, progress: Progress) -> Run:
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    block = tm.build(spec, backend="jax", seed=0, dtype=digits.x.dtype)
    optimizer = nnx.Optimizer(block, optax.adamw(rate, eps=EPSILON, weight_decay=DECAY), wrt=nnx.Param)
    x, labels = jnp.asarray(digits.x), jnp.asarray(digits.labels)

    @nnx.jit
    def step(block: Any, optimizer: Any, batch: Any) -> Any:
        def mean_loss(block: Any) -> Any:
            logits = block(x[batch])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()

        loss, gradients = nnx.value_and_grad(mean_loss)(block)
        optimizer.update(block, gradients)
        return loss

    losses = []
    for batch in jnp.asarray(digits.batches):
        losses.append(step(block, optimizer, batch))
        progress()
    block.eval()
    logits, (coefficients,) = block(jnp.asarray(digits.x_test), return_coefficients=True)
    device = jax.devices()[0]
    name = "CPU" if device.platform == "cpu" else device.device_kind
    return Run(np.asarray(jnp.stack(losses)), np.asarray(logits), np.asarray(coefficients), name)
