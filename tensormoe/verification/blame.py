"""Name the backend in errors that backends, or a user's own gates, raise."""

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
        remedy = f"it raised {reason}; pass only backends that can run this layer and its gate"
        raise TensorMoEError("backends", backend, remedy) from error
