"""What a framework offers to those who look into a model while it runs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from ..typing import Array
from .spec import Spec

# Takes the name of a layer that has run, its coefficients, and whether that call's thread may do no more than
# keep them.
Receive: TypeAlias = Callable[[str, Sequence[Array], bool], None]
# Takes the name of a layer that has run, the layer, its input, coefficients and output; returns what the
# model goes on with, (…, O) on any device, or that very output.
Change: TypeAlias = Callable[[str, Any, Array, Sequence[Array], Array], Array]


class Observer(Protocol):
    """How models of a framework are run and watched: `observer` in a backend's package."""

    def find(self, model: object) -> dict[str, Spec]:
        """The specifications of a model's layers and blocks, by the names that the framework gives them.

        Raises:
            TensorMoEError: something that is not a model, or layers that cannot be watched.
        """

    def attach(self, model: Any, receive: Receive) -> AbstractContextManager[None]:
        """A context in which every layer hands on its coefficients, those that the experts are mixed by."""

    def intervene(self, model: Any, change: Change) -> AbstractContextManager[None]:
        """A context in which a function decides on every layer's output.

        Raises:
            TensorMoEError: in a call that is compiled, which has no values.
        """

    def evaluate(self, model: Any) -> AbstractContextManager[None]:
        """A context in which a model is in evaluation mode and keeps nothing for a backward pass."""

    def place(self, model: Any, batch: Any) -> Any:
        """A batch whose arrays lie where the model does."""

    def wait(self) -> None:
        """Block until everything that was called has handed on its coefficients."""
