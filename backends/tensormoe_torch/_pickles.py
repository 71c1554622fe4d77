"""Specifications in checkpoints that are loaded with `weights_only=True`, as PyTorch does by default."""

from collections.abc import Iterator
from typing import Any

import torch

from tensormoe.codec import Serializable
from tensormoe.gates.clustering import FeatureWeights
from tensormoe.networks.fixed import Fixed


def trust_specifications() -> None:
    """Let `torch.load` make specifications, gates, routers and factorizations of the library.

    They are frozen dataclasses of plain values. Classes of your own are for you to trust, by
    `torch.serialization.add_safe_globals`.
    """
    own = [kind for kind in _subclasses(Serializable) if kind.__module__.startswith("tensormoe.")]
    torch.serialization.add_safe_globals([*own, FeatureWeights, Fixed])


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)
