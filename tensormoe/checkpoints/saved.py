"""Layers without a framework, alone or nested by name: what is written, and what is read."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from ..errors import TensorMoEError, mapping
from ..layers.building import restore
from ..layers.spec import Spec
from ..typing import Array

Value = TypeVar("Value")
# The names that lead to a layer; none to a layer that is saved alone.
Names: TypeAlias = tuple[str, ...]
# Nothing that people name nests deeper; Python's own limit ends in a RecursionError.
_DEEPEST = 50


class SavedLayer(NamedTuple):
    """A layer as its specification and its arrays, without a framework.

    `tm.load_arrays` and `tm.from_published` return it, and `tm.save` takes it.

    Attributes:
        spec: a layer's or a block's specification.
        parameters, state: arrays by the names that `tm.initialize` gives them.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> saved = tm.SavedLayer(spec, *tm.initialize(spec))
        >>> layer = saved.build("numpy")
        >>> bool((layer.cores["input"] == saved.parameters["cores.input"]).all())
        True
    """

    spec: Spec
    parameters: Mapping[str, Array]
    state: Mapping[str, Array]

    def arrays(self) -> dict[str, Array]:
        """Parameters and running statistics by name, as a module's `load_arrays` takes them.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=tm.Gate(norm="batch"))
            >>> list(tm.SavedLayer(spec, *tm.initialize(spec)).arrays())[-2:]
            ['gate_mean.0', 'gate_variance.0']
        """
        return {**mapping("parameters", self.parameters), **mapping("state", self.state)}

    def build(self, backend: str, **options: Any) -> Any:
        """Build the framework's own module with these values. No initial values are drawn.

        Args:
            backend: as for `tm.build`.
            options: dtype, device or recompute, as for the module. By default every array keeps its type.

        Raises:
            TensorMoEError: as `tm.build`; arrays that are not those of the specification.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
            >>> tm.SavedLayer(spec, *tm.initialize(spec)).build("numpy", dtype="float64").dtype
            dtype('float64')
        """
        return restore(self.spec, self.arrays(), backend, **options)


class Layer(Protocol):
    """A module of any framework, or a `SavedLayer`."""

    @property
    def spec(self) -> Spec:
        """What it computes."""

    def arrays(self) -> dict[str, Array]:
        """Its parameters and running statistics by the names that `tm.initialize` gives them."""


Layers: TypeAlias = Layer | Mapping[str, "Layers"]


def flatten(layers: object) -> dict[Names, Layer]:
    """Every layer by the names that lead to it.

    Raises:
        TensorMoEError: something that is not a layer, an empty mapping, or a name that is not text.
    """
    return dict(_flatten(layers, ()))


def _flatten(layers: Any, names: Names) -> Iterator[tuple[Names, Layer]]:
    argument = describe(names)
    if isinstance(getattr(layers, "spec", None), Spec) and callable(getattr(layers, "arrays", None)):
        yield names, layers
    elif not isinstance(layers, Mapping):
        remedy = (
            "pass a layer or a block, or several by name, such as "
            "{name: each for name, each in model.named_modules() if isinstance(each, MuMoE)}"
        )
        raise TensorMoEError(argument, type(layers), remedy)
    elif not layers or len(names) == _DEEPEST:
        raise TensorMoEError(argument, type(layers), f"pass layers by name, at most {_DEEPEST} names deep")
    else:
        for name, each in layers.items():
            yield from _flatten(each, (*names, _check_name(argument, name)))


def _check_name(argument: str, name: object) -> str:
    if isinstance(name, str) and name and name.isprintable():
        return name
    raise TensorMoEError(f"a name in {argument}", name, "name every layer by text that can be printed")


def full_name(names: Names, name: str) -> str:
    """The name that an array of a layer has in a file.

    Examples:
        >>> from tensormoe.checkpoints.saved import full_name
        >>> full_name(("encoder", "0"), "cores.input"), full_name((), "cores.input")
        ('encoder.0.cores.input', 'cores.input')
    """
    return ".".join((*names, name))


def describe(names: Names) -> str:
    """A layer, or a mapping of layers, as errors name it."""
    return f"layer {'.'.join(names)!r}" if names else "layer"


def nest(layers: Mapping[Names, Value]) -> Any:
    """What was flattened: the only layer, or mappings of layers by name.

    Examples:
        >>> from tensormoe.checkpoints.saved import nest
        >>> nest({("encoder", "0"): 1, ("encoder", "1"): 2, ("head",): 3})
        {'encoder': {'0': 1, '1': 2}, 'head': 3}
        >>> nest({(): 1})
        1
    """
    if () in layers:
        return layers[()]
    nested: dict[str, Any] = {}
    for (*outer, last), layer in layers.items():
        inner = nested
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = layer
    return nested
