"""What a hostile caller passes in place of an argument that fits, and what a careless one does."""

import string
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from hostile.values import BLOCKS, LAYERS, build_module
from support.frameworks import BACKENDS, optional

import tensormoe as tm
from tensormoe.networks.notation import Notation

torch = optional("torch")
jax = optional("jax")
nnx = optional("flax.nnx")


class Unprintable:
    """Its repr fails, and so do comparisons."""

    def __repr__(self) -> str:
        raise TypeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise TypeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


@cache
def _nested(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


# What takes any argument's place.
HOSTILE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "-1": lambda: -1,
    "1": lambda: 1,
    "3": lambda: 3,
    "10^9": lambda: 10**9,
    "10^18": lambda: 10**18,
    "-10^18": lambda: -(10**18),
    "2^63": lambda: 2**63,
    "400 digits": lambda: 10**399,
    "5000 digits": lambda: 10**4999,
    "1.0": lambda: 1.0,
    "2.5": lambda: 2.5,
    "1e300": lambda: 1e300,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "1j": lambda: 1j,
    "a fraction": lambda: Fraction(1, 3),
    "a decimal": lambda: Decimal("NaN"),
    "a huge fraction": lambda: Fraction(10**400, 3),
    "NumPy's 2": lambda: np.int64(2),
    "NumPy's True": lambda: np.bool_(True),
    "NumPy's nan": lambda: np.float32("nan"),
    "no": lambda: "no",
    "empty text": lambda: "",
    "a number as text": lambda: "16",
    "long text": lambda: "n r, " * 20_000,
    "a null character": lambda: "a\0b",
    "a surrogate": lambda: "\ud800",
    "bytes": lambda: b"n r, i r, o r",
    "notation": lambda: "n r, i r, o s",
    "JSON": lambda: '{"type": "MuMoESpec", "experts": NaN}',
    "deep JSON": lambda: "[" * 100_000,
    "an empty list": list,
    "an empty tuple": lambda: (),
    "an empty mapping": dict,
    "an empty set": set,
    "[None]": lambda: [None],
    "['4']": lambda: ["4"],
    "[True]": lambda: [True],
    "[[4]]": lambda: [[4]],
    "(2, 3)": lambda: (2, 3),
    "(0, 2)": lambda: (0, 2),
    "2000 ones": lambda: [1] * 2000,
    "40 ones": lambda: (1,) * 40,
    "24 ones": lambda: (1,) * 24,
    "24 huge": lambda: (2**62,) * 24,
    "deep nesting": lambda: _nested(5_000),
    "a mapping": lambda: {"type": "CP", "rank": 4},
    "a mapping of numbers": lambda: {1: 2},
    "a mapping of mappings": lambda: {"cores": {"input": np.ones((4, 2))}},
    "an object": object,
    "unprintable": Unprintable,
    "a generator": lambda: (each for each in (1, 2)),
    "a range": lambda: range(3),
    "a function": lambda: len,
    "a wrong function": lambda: lambda *values: "wrong",
    "a failing function": lambda: lambda *values: 1 / 0,
    "a type": lambda: int,
    "a class of arrays": lambda: np.ndarray,
    "a family's class": lambda: tm.CP,
    "a family": lambda: tm.CP(3),
    "a gate": lambda: tm.Gate(),
    "a layer": lambda: LAYERS[0],
    "a block": lambda: BLOCKS[0],
    "a stage": lambda: BLOCKS[0].layers["first"],
    "a plan": lambda: LAYERS[0].plan(1),
    "parsed notation": lambda: Notation.parse("n r, i r, o r"),
    "a module": lambda: build_module("numpy", LAYERS[0]),
    "another backend": lambda: tm.get_backend("numpy"),
    "an array": lambda: np.ones((2, 3), "float32"),
    "a scalar array": lambda: np.array(2.0),
    "an integer array": lambda: np.array([2, 2]),
    "a boolean array": lambda: np.array([True, False]),
    "an empty array": lambda: np.zeros((0, 3)),
    "an array of objects": lambda: np.array([None, "a"], dtype=object),
    "an array of text": lambda: np.array(["a", "b"]),
    "a complex array": lambda: np.ones((2, 3), complex),
    "a masked array": lambda: np.ma.masked_array(np.ones((2, 3), "float32"), True),
    "a matrix": lambda: np.asmatrix(np.ones((2, 3), "float32")),
    "a big-endian array": lambda: np.ones((2, 3), ">f4"),
}

if "torch" in BACKENDS:
    HOSTILE |= {
        "a tensor": lambda: torch.ones(2, 3),
        "an integer tensor": lambda: torch.ones(2, 3, dtype=torch.int64),
        "a boolean tensor": lambda: torch.tensor([True, False]),
        "a tensor without values": lambda: torch.ones(2, 3, device="meta"),
        "a sparse tensor": lambda: torch.ones(2, 3).to_sparse(),
        "PyTorch's type": lambda: torch.float16,
        "another type of PyTorch": lambda: torch.int8,
        "a torch generator": lambda: torch.Generator(),
        "a torch module": lambda: torch.nn.Linear(3, 2),
    }
if "jax" in BACKENDS:
    HOSTILE |= {
        "a jax array": lambda: jax.numpy.ones((2, 3)),
        "a key": lambda: jax.random.key(0),
        "rngs": lambda: nnx.Rngs(0),
    }


def variants(value: Any) -> Iterator[tuple[str, Any]]:
    """Slips: values much like one that fits."""
    if isinstance(value, str):
        yield from {
            "upper": value.upper(),
            "bytes": value.encode(),
            "padded": f" {value} ",
            "in a list": [value],
        }.items()
        yield from {
            "cut": value[: len(value) // 2],
            "letters": string.ascii_letters,
            "twice": value * 2,
        }.items()
    elif isinstance(value, Mapping):
        some = dict(value)
        first = next(iter(some), "first")
        yield "one missing", {name: each for name, each in some.items() if name != first}
        yield "one more", {**some, "bogus": next(iter(some.values()), 1)}
        yield "one None", {**some, first: None}
        yield "items", list(some.items())
        yield "a number as name", {**some, 3: 4}
        for label in (
            "10^18",
            "400 digits",
            "nan",
            "no",
            "deep nesting",
            "a scalar array",
            "2000 ones",
            "a type",
        ):
            yield f"one {label}", {**some, first: HOSTILE[label]()}
        for name, each in list(some.items())[:4]:
            for label, changed in variants(each):
                yield f"{name} {label}", {**some, name: changed}
    elif isinstance(value, list | tuple):
        # A named tuple takes its members one by one.
        kind = tuple if hasattr(value, "_fields") else type(value)
        yield from {"one less": value[:-1], "one more": value + value[-1:], "nested": kind([value])}.items()
        yield from {
            "a mapping": dict(enumerate(value)),
            "an iterator": iter(value),
            "thousands": value * 2000,
        }.items()
        for label in ("None", "10^18", "400 digits", "1.0", "0", "no", "deep nesting", "True"):
            yield f"one {label}", kind([*value[:-1], HOSTILE[label]()])
        if value:
            for label, changed in variants(value[0]):
                yield f"first {label}", kind([changed, *value[1:]])
    elif hasattr(value, "dtype") and getattr(value, "ndim", 0):
        yield from {
            "a row": value[0],
            "more axes": value[None],
            "one less": value[:, :-1] if value.ndim > 1 else value[:-1],
        }.items()
        yield from {"as a list": value.tolist(), "no rows": value[:0], "a value": value.ravel()[0]}.items()
        plain = np.asarray(value)
        for name in ("int64", "bool", "complex64", "float64", "float16", "object"):
            yield f"{name} elsewhere", plain.astype(name)
        if hasattr(value, "numpy"):
            yield from {
                "integer": value.long(),
                "boolean": value > 0,
                "half": value.half(),
                "meta": value.to("meta"),
            }.items()
        elif hasattr(value, "astype"):
            yield from {each: value.astype(each) for each in ("int32", "bool", "float16")}.items()
        yield "nan", value * float("nan")
        yield "infinite", value * float("inf")
