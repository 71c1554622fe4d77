"""What an edit is, and those that give experts multiples or means of experts' weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..codec import Data, Registered, encode
from ..errors import TensorMoEError, finite_number, one_of
from ..layers.spec import Spec, check_spec
from ..typing import NumPyArray
from .draft import Draft
from .reading import (
    Expert,
    Place,
    Values,
    locate,
    read_array,
    read_expert,
    read_experts,
    read_layer,
)


class Edit(Registered, ABC):
    """Base of all edits: what becomes of the weights of a layer's experts.

    Each is a frozen record of its arguments: compare it, print it, and write it as plain data with `to_dict`;
    `tm.editing.Edit.from_dict` reads it back, to make the same edit again, in any framework.

    Examples:
        >>> import tensormoe as tm
        >>> edit = tm.editing.Scale(3, factor=0.5)
        >>> edit.to_dict()
        {'type': 'Scale', 'expert': 3, 'factor': 0.5, 'layer': None}
        >>> tm.editing.Edit.from_dict(edit.to_dict()) == edit
        True
    """

    _what = "edit"

    layer: str | None

    @abstractmethod
    def change(self, draft: Draft) -> None:
        """Change a layer that is being edited."""

    def stages(self, spec: Spec) -> tuple[str, ...]:
        """The layers of a specification that this changes, by name: one, unless it is of the gate."""
        check_spec(spec)
        names = tuple(spec.layers)
        name = names[0] if self.layer is None and len(names) == 1 else self.layer
        one_of("layer", name, names)
        if not spec.layers[str(name)].experts:
            mixed = [each for each, stage in spec.layers.items() if stage.experts]
            raise TensorMoEError("layer", name, f"it has no experts to edit: choose {' or '.join(mixed)}")
        return (str(name),)

    def respecify(self, spec: Spec) -> Spec:
        """The specification afterwards, but for how weights are factorized."""
        return spec

    def change_gate(self, weights: Mapping[str, NumPyArray]) -> dict[str, NumPyArray]:
        """The gate's weights afterwards by name, in float64."""
        return dict(weights)

    def carry(self, places: Iterable[Place], experts: tuple[int, ...]) -> set[Place]:
        """Where experts are after this edit that differed before, of as many as `experts`."""
        return {*places}

    @abstractmethod
    def places(self, experts: tuple[int, ...]) -> tuple[Place, ...]:
        """The experts of a layer whose weights this may change, by their numbers on each level."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Edit) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __repr__(self) -> str:
        shown = [f"{name}={_show(value)}" for name, value in self.arguments.items() if value is not None]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _set(self, **values: object) -> None:
        """Set fields of an instance under construction; afterwards it is frozen."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _key(self) -> tuple[object, ...]:
        return tuple(map(_freeze, self.arguments.values()))

    def _to_data(self) -> dict[str, Data]:
        return {name: encode(f"edit {name}", _listed(value)) for name, value in self.arguments.items()}


class OneExpert:
    """What edits of a single expert share."""

    expert: Expert

    def places(self, experts: tuple[int, ...]) -> tuple[Place, ...]:
        return (locate("expert", self.expert, experts),)


@dataclass(frozen=True, eq=False, repr=False)
class Scale(OneExpert, Edit):
    """Multiply an expert's weight, its bias included, by a number.

    Args:
        expert: its number, or one for each level, as a tuple.
        factor: any finite number.
        layer: of a block, "first", "up" or "second".

    Raises:
        TensorMoEError: anything but integers from 0 on, or a factor that is not finite.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0, dtype="float64")
        >>> edited = tm.editing.edit(layer, tm.editing.Scale(2, factor=3)).layer
        >>> bool(abs(edited.materialize()[2] - 3 * layer.materialize()[2]).max() < 1e-12)
        True
    """

    expert: Expert
    factor: float
    layer: str | None = None

    def __post_init__(self) -> None:
        self._set(
            expert=read_expert("expert", self.expert),
            factor=finite_number("factor", self.factor),
            layer=read_layer(self.layer),
        )

    def change(self, draft: Draft) -> None:
        draft.mix(self.places(draft.experts), np.array([[self.factor]]))


@dataclass(frozen=True, eq=False, repr=False)
class Ablate(OneExpert, Edit):
    """Set an expert's weight, its bias included, to zero: `Scale` by 0.

    Args:
        expert: its number, or one for each level, as a tuple.
        layer: of a block, "first", "up" or "second".

    Raises:
        TensorMoEError: anything but integers from 0 on.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> edited = tm.editing.edit(layer, tm.editing.Ablate(2)).layer
        >>> bool(edited.materialize()[2].any()), edited.spec == layer.spec
        (False, True)
    """

    expert: Expert
    layer: str | None = None

    def __post_init__(self) -> None:
        self._set(expert=read_expert("expert", self.expert), layer=read_layer(self.layer))

    def change(self, draft: Draft) -> None:
        draft.mix(self.places(draft.experts), np.zeros((1, 1)))


@dataclass(frozen=True, eq=False, repr=False)
class Merge(Edit):
    """Give each of several experts the mean of their weights, (1/K) Σ W[n], biases included.

    The experts stay as many as they were: their coefficients add up.

    Args:
        experts: at least two, each a number or a tuple with one for each level.
        layer: of a block, "first", "up" or "second".

    Raises:
        TensorMoEError: fewer than two experts, one of them twice, or anything but integers from 0 on.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0, dtype="float64")
        >>> weight = tm.editing.edit(layer, tm.editing.Merge((0, 2))).layer.materialize()
        >>> bool(abs(weight[[0, 2]] - layer.materialize()[[0, 2]].mean(0)).max() < 1e-12)
        True
    """

    experts: tuple[Expert, ...]
    layer: str | None = None

    def __post_init__(self) -> None:
        experts = read_experts("experts", self.experts)
        if len(experts) < 2:
            raise TensorMoEError("experts", self.experts, "pass at least two experts")
        self._set(experts=experts, layer=read_layer(self.layer))

    def change(self, draft: Draft) -> None:
        count = len(self.experts)
        draft.mix(self.places(draft.experts), np.full((count, count), 1 / count))

    def places(self, experts: tuple[int, ...]) -> tuple[Place, ...]:
        return tuple(locate("experts", each, experts) for each in self.experts)


@dataclass(frozen=True, eq=False, repr=False)
class Replace(OneExpert, Edit):
    """Put a matrix in the place of an expert's weight.

    Args:
        expert: its number, or one for each level, as a tuple.
        matrix: (I, O), or (I+1, O) with the bias as its last row, which is zero if it is left out; an array
            of any framework, or lists.
        layer: of a block, "first", "up" or "second".

    Raises:
        TensorMoEError: anything but integers from 0 on, or anything but a matrix of finite numbers.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(2, 3, 4, tm.CP(5), bias=False), "numpy", seed=0)
        >>> tm.editing.edit(layer, tm.editing.Replace(1, np.eye(2, 3))).layer.materialize()[1]
        array([[1., 0., 0.],
               [0., 1., 0.]], dtype=float32)
    """

    expert: Expert
    matrix: Values
    layer: str | None = None

    def __post_init__(self) -> None:
        self._set(
            expert=read_expert("expert", self.expert),
            matrix=read_array("matrix", self.matrix, 2),
            layer=read_layer(self.layer),
        )

    def change(self, draft: Draft) -> None:
        (place,) = self.places(draft.experts)
        matrix = draft.fit_rows("matrix", np.asarray(self.matrix), draft.stage.out_features)
        draft.mix((place,), np.zeros((1, 1)))
        draft.add_matrix(place, matrix)


def _show(value: object) -> str:
    match value:
        case np.ndarray():
            return f"array{value.shape}"
        case tuple() if any(isinstance(each, np.ndarray) for each in value):
            return f"({', '.join(map(_show, value))})"
    return repr(value)


def _freeze(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    return tuple(map(_freeze, value)) if isinstance(value, tuple) else value


def _listed(value: object) -> object:
    if isinstance(value, np.ndarray):
        listed: object = value.tolist()
        return listed
    return [_listed(each) for each in value] if isinstance(value, tuple) else value
