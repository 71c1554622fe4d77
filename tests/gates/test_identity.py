"""Gate activations are compiled once for each: what tells two of them apart is part of their identity."""

import dataclasses

import pytest

from tensormoe.gates.entmax import Entmax
from tensormoe.gates.newton import Entmax15, SoftTopK, Sparsemax

PAIRS = {
    Entmax: {"alpha": (1.2, 1.4)},
    SoftTopK: {"k": (2, 3), "eps": (0.5, 2.0)},
    Entmax15: {},
    Sparsemax: {},
}


@pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)
def test_every_option_is_part_of_an_activations_identity(kind: type) -> None:
    """JAX knows what it has compiled by equality and hash: another option must not find it."""
    assert {field.name for field in dataclasses.fields(kind)} == PAIRS[kind].keys()
    first = {name: before for name, (before, _) in PAIRS[kind].items()}
    assert kind(**first) == kind(**first)
    for name, (_, after) in PAIRS[kind].items():
        other = kind(**{**first, name: after})
        assert other != kind(**first)
        assert hash(other) != hash(kind(**first))
