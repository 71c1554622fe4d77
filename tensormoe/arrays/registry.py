"""Backend objects by name and by array.

A backend object is an instance of a TensorLy backend class that also inherits `Backend`. It is passed
explicitly; TensorLy's global `set_backend` is never called, so two threads may run two frameworks at once.

The backends of NumPy, PyTorch and JAX are known by name, so they are available even without package metadata:
in a frozen application, a zip, or a checkout. Others register in the entry-point group `tensormoe.backends`
and cannot take a known name. TensorLy's remaining frameworks are adapted.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar

from ..errors import TensorMoEError
from ..typing import Array
from . import tensorly
from .backend import Backend
from .tracing import make_constant

GROUP = "tensormoe.backends"

BUILT_IN = {"numpy": "tensormoe_numpy", "torch": "tensormoe_torch", "jax": "tensormoe_jax"}
_ALIASES = {"pytorch": "torch"}
# From the import package that defines an array's class, or a container's, to the backend's name.
_FRAMEWORKS = {"jaxlib": "jax", "flax": "jax"}

_Loaded = TypeVar("_Loaded")


@cache
def _packages() -> dict[str, str]:
    """The import package of every backend that has one, by name."""
    taken = {*BUILT_IN, *tensorly.PACKAGES, *_ALIASES}
    announced = {point.name: point.module for point in entry_points(group=GROUP) if point.name not in taken}
    return announced | BUILT_IN


def available_backends() -> tuple[str, ...]:
    """The names that `get_backend` knows, installed or not.

    Examples:
        >>> import tensormoe as tm
        >>> {"numpy", "torch", "jax"} <= set(tm.available_backends())
        True
    """
    return tuple(sorted({*_packages(), *tensorly.PACKAGES}))


def installed_backends() -> tuple[str, ...]:
    """The names of the backends whose framework can be imported, NumPy first. This call imports them.

    Examples:
        >>> from tensormoe.arrays.registry import installed_backends
        >>> "numpy" in installed_backends()
        True
    """
    names = sorted(_packages(), key=lambda name: (name != "numpy", name))
    return tuple(name for name in names if _imports(name))


def _imports(name: str) -> bool:
    try:
        _import_package(name)
    except ImportError:
        return False
    return True


def get_backend(name: str) -> Backend:
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
    return _load(check_name(name), _make_backend)


def get_module(name: str) -> ModuleType:
    """The package that holds the module classes of the backend of this name.

    Raises:
        TensorMoEError: an unknown name, a framework that is not installed, or one without modules.
    """
    known = check_name(name)
    if known not in _packages():
        listed = ", ".join(sorted(_packages()))
        raise TensorMoEError(
            "backend", name, f"it has no modules, only the functional API; choose one of {listed}"
        )
    return _load(known, _import_package)


def check_name(name: object) -> str:
    """The name of a known backend, installed or not; an alias becomes that.

    Raises:
        TensorMoEError: an unknown name.

    Examples:
        >>> from tensormoe.arrays.registry import check_name
        >>> check_name("pytorch")
        'torch'
    """
    known = _ALIASES.get(name, name) if isinstance(name, str) else name
    if not isinstance(known, str) or known not in available_backends():
        raise TensorMoEError("backend", name, f"choose one of {', '.join(available_backends())}")
    return known


def _load(name: str, load: Callable[[str], _Loaded]) -> _Loaded:
    try:
        return load(name)
    except ImportError as error:
        reason = " ".join(str(error).split())
        package = tensorly.PACKAGES.get(name, f'"tensormoe[{name}]"')
        raise TensorMoEError(
            "backend", name, f"its framework could not be imported ({reason}): pip install {package}"
        ) from error


def _import_package(name: str) -> ModuleType:
    return import_module(_packages()[name])


@cache
def _make_backend(name: str) -> Backend:
    if name not in _packages():
        return tensorly.adapt(name)
    backend: Backend = _import_package(name).backend
    return backend


_BY_CLASS: dict[type, Backend] = {}


@make_constant
def _find(kind: type) -> bool:
    """Look up the backend of this class of arrays, once."""
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


def backend_of(array: Array) -> Backend:
    """The backend object of an array or of its container, judged by the class.

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
