"""The adapter for TensorLy's frameworks that need no package here: CuPy, TensorFlow, Paddle."""

from importlib import import_module

from .backend import Backend

# TensorLy's names, and what pip calls the frameworks.
PACKAGES = {"cupy": "cupy", "tensorflow": "tensorflow", "paddle": "paddlepaddle"}


def adapt(name: str) -> Backend:
    """A backend object made of TensorLy's class of this name and the defaults of `Backend`.

    Raises:
        ImportError: the framework is not installed.
    """
    base = import_module("tensorly.backend.core").Backend
    import_module(f"tensorly.backend.{name}_backend")
    theirs = base._available_backends[name]
    members = {"tensormoe_name": name}
    ours = type(f"{theirs.__name__}Extended", (Backend, theirs), members, backend_name=f"tensormoe-{name}")
    backend: Backend = ours()
    return backend
