"""Errors of backends and of a user's own gates, with the name of the backend that raised them."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import TensorMoEError


@contextmanager
def blame(backend: str) -> Iterator[None]:
    """Turn any error into one that names the backend it came from."""
    try:
        yield
    except TensorMoEError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = f"it raised {reason}; name the backends that this layer and its gate are made for"
        raise TensorMoEError("backends", backend, remedy) from error
