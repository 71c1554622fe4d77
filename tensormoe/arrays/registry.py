"""Backend objects by name and by array.

A backend object is an instance of a TensorLy backend class that also inherits `Backend`. It is passed along
explicitly; TensorLy's global `set_backend` is never called, so two threads may run two frameworks at once.
Backends are found through the entry-point group `tensormoe.backends`; any other TensorLy backend is made
from its class on demand.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import TensorMoEError
from ..typing import Array
from .backend import Backend

GROUP = "tensormoe.backends"

# TensorLy's own names, for frameworks that need no package of ours, and what pip calls them.
_TENSORLY = {"cupy": "cupy", "tensorflow": "tensorflow", "paddle": "paddlepaddle"}
_ALIASES = {"pytorch": "torch"}
# The import package that defines an array's class → the backend's name.
_FRAMEWORKS = {"jaxlib": "jax"}


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def available_backends() -> tuple[str, ...]:
    """The names that `get_backend` knows, installed or not.

    Examples:
        >>> import tensormoe as tm
        >>> {"numpy", "torch", "jax"} <= set(tm.available_backends())
        True
    """
    return tuple(sorted({*_entry_points(), *_TENSORLY}))


def installed_backends() -> tuple[str, ...]:
    """The names of the backends whose framework can be imported, NumPy first. This imports them.

    Examples:
        >>> from tensormoe.arrays.registry import installed_backends
        >>> "numpy" in installed_backends()
        True
    """
    names = sorted(_entry_points(), key=lambda name: (name != "numpy", name))
    return tuple(name for name in names if _imports(name))


def _imports(name: str) -> bool:
    try:
        _load(name)
    except ImportError:
        return False
    return True


def get_backend(name: str) -> Any:
    """The backend object of this name.

    Args:
        name: "numpy", "torch", "jax", another installed backend, or any further TensorLy backend.

    Raises:
        TensorMoEError: an unknown name, or a framework that is not installed.

    Examples:
        >>> import tensormoe as tm
        >>> ops = tm.get_backend("numpy")
        >>> ops.matmul(ops.ones((2, 3)), ops.ones((3, 1))).shape
        (2, 1)
    """
    return _found(_known(name), _object)


def get_module(name: str) -> Any:
    """The package that holds the module classes of the backend of this name.

    Raises:
        TensorMoEError: an unknown name, a framework that is not installed, or one without modules.
    """
    known = _known(name)
    if known not in _entry_points():
        listed = ", ".join(sorted(_entry_points()))
        raise TensorMoEError(
            "backend", name, f"it has no modules, only the functional API; choose one of {listed}"
        )
    return _found(known, _load)


def _known(name: object) -> str:
    known = _ALIASES.get(name, name) if isinstance(name, str) else name
    if known not in available_backends():
        raise TensorMoEError("backend", name, f"known backends are {', '.join(available_backends())}")
    return str(known)


def _found(name: str, find: Callable[[str], Any]) -> Any:
    try:
        return find(name)
    except ImportError as error:
        reason = " ".join(str(error).split())
        package = _TENSORLY.get(name, f'"tensormoe[{name}]"')
        raise TensorMoEError(
            "backend", name, f"its framework could not be imported ({reason}): pip install {package}"
        ) from error


def _load(name: str) -> Any:
    return _entry_points()[name].load()


@cache
def _object(name: str) -> Any:
    return _load(name).backend if name in _entry_points() else _from_tensorly(name)


def _from_tensorly(name: str) -> Any:
    base = import_module("tensorly.backend.core").Backend
    import_module(f"tensorly.backend.{name}_backend")
    theirs = base._available_backends[name]
    ours = type(
        f"{theirs.__name__}Extended",
        (Backend, theirs),
        {"tensormoe_name": name},
        backend_name=f"tensormoe-{name}",
    )
    return ours()


_BY_CLASS: dict[type, Any] = {}


def _find(kind: type) -> bool:
    """Make sure that the backend of this class of arrays is known."""
    if kind in _BY_CLASS:
        return True
    for ancestor in kind.__mro__:
        root = ancestor.__module__.partition(".")[0]
        root = _FRAMEWORKS.get(root, root)
        if root in available_backends():
            _BY_CLASS[kind] = get_backend(root)
            return True
    raise TensorMoEError(
        "x", kind, f"pass an array of one of the known backends: {', '.join(available_backends())}"
    )


# What torch.compiler.assume_constant_result sets: a tracer calls the function and does not look inside.
_find._dynamo_marked_constant = True  # type: ignore[attr-defined]


def backend_of(array: Array) -> Any:
    """The backend object that an array belongs to, told by the array's class.

    Raises:
        TensorMoEError: not an array of a known framework.

    Examples:
        >>> import numpy as np
        >>> from tensormoe.arrays.registry import backend_of
        >>> backend_of(np.ones(3)).tensormoe_name
        'numpy'
    """
    _find(type(array))
    return _BY_CLASS[type(array)]
