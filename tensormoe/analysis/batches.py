"""Batches of data, and the models that are run on them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from ..arrays.registry import backend_of, get_module
from ..errors import TensorMoEError
from ..layers.observation import Observer
from ..typing import Array

# Where something is in a batch: by name or by place, or a function that gets it.
Pick: TypeAlias = str | int | Callable[[Any], Array]


class Call:
    """Runs a model on a batch, without what are labels by name or place."""

    def __init__(self, labels: Pick | None) -> None:
        self.labels = labels

    def __call__(self, model: Any, batch: Any) -> Any:
        if isinstance(batch, Mapping):
            return model(**{name: value for name, value in batch.items() if name != self.labels})
        if isinstance(batch, list | tuple):
            place = self.labels % len(batch) if isinstance(self.labels, int) else None
            return model(*(value for number, value in enumerate(batch) if number != place))
        return model(batch)


def find_observer(model: object) -> Observer:
    """What watches the layers of a model's framework.

    Raises:
        TensorMoEError: something that is not a model.
    """
    remedy = (
        "pass a torch.nn.Module or a flax.nnx.Module; of others, add coefficients to tm.analysis.recording()"
    )
    try:
        observer = getattr(get_module(backend_of(model).tensormoe_name), "observer", None)
    except TensorMoEError as error:
        raise TensorMoEError("model", type(model), remedy) from error
    if observer is None:
        raise TensorMoEError("model", type(model), remedy)
    known: Observer = observer
    return known


def check_data(data: object) -> None:
    """Raise an error unless these are batches."""
    if not isinstance(data, Iterable) or isinstance(data, Mapping) or hasattr(data, "shape"):
        raise TensorMoEError("data", type(data), "pass batches: a list of them, a generator, a DataLoader")


def check_call(call: object) -> None:
    """Raise an error unless this is a function, or None."""
    if call is not None and not callable(call):
        raise TensorMoEError("call", call, "pass a function of a model and a batch")


def check_pick(argument: str, pick: Pick | None) -> Any:
    """Raise an error unless this says where something is in a batch."""
    # True is an integer, too.
    if isinstance(pick, bool) or not (pick is None or isinstance(pick, str | int) or callable(pick)):
        raise TensorMoEError(argument, pick, "pass a name, a place, or a function of the batch")
    return pick


def get_part(argument: str, pick: Pick | None, batch: Any) -> Array | None:
    """What a pick finds in a batch.

    Raises:
        TensorMoEError: a batch that lacks it, or a function that fails on it.
    """
    if pick is None:
        return None
    if callable(pick):
        return _ask(argument, pick, batch)
    if isinstance(batch, Mapping) and pick in batch:
        return batch[pick]
    if isinstance(batch, list | tuple) and isinstance(pick, int) and -len(batch) <= pick < len(batch):
        return batch[pick]
    there = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch)
    raise TensorMoEError(argument, pick, f"a batch lacks it, which has {there}")


def _ask(argument: str, pick: Callable[[Any], Array], batch: Any) -> Array:
    try:
        return pick(batch)
    except Exception as error:  # the user's own function may raise anything
        remedy = f"it failed on a batch ({type(error).__name__}: {error}): pass a function of one"
        raise TensorMoEError(argument, pick, remedy) from error
