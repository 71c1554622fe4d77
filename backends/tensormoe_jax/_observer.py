"""Watching the layers of a model: for a while each is of a class that hands on its coefficients."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import ReferenceType, ref

import jax
from flax import nnx

from tensormoe.errors import TensorMoEError
from tensormoe.layers.observation import Change, Receive
from tensormoe.layers.spec import Spec

from ._base import Module

# What sets a module's mode, by nnx's own names, and what evaluation sets it to.
_MODES = ("deterministic", "use_running_average")


class _Watch:
    """Who is told. Compiled functions may live longer, and then tell nobody."""

    def __init__(self, receive: Receive) -> None:
        self.receive: Receive | None = receive

    def hand_on(self, name: str, coefficients: Sequence[jax.Array], later: bool) -> None:
        if self.receive is not None:
            self.receive(name, coefficients, later)


class Observer:
    """JAX's `tensormoe.layers.observation.Observer`."""

    def find(self, model: object) -> dict[str, Spec]:
        if not isinstance(model, nnx.Module):
            raise TensorMoEError("model", type(model), "pass a torch.nn.Module or a flax.nnx.Module")
        return {name: layer.spec for name, layer in _layers(model)}

    @contextmanager
    def attach(self, model: nnx.Module, receive: Receive) -> Iterator[None]:
        watch = _Watch(receive)
        try:
            # nnx.jit and nnx.grad see these classes, too, and trace the model again.
            with _become(model, lambda kind, name: _derive(kind, name, ref(watch))):
                yield
        finally:
            self.wait()
            watch.receive = None

    @contextmanager
    def intervene(self, model: nnx.Module, change: Change) -> Iterator[None]:
        with _become(model, lambda kind, name: _derive_changed(kind, name, change)):
            yield

    @contextmanager
    def evaluate(self, model: nnx.Module) -> Iterator[None]:
        modes = [
            (module, name, vars(module)[name])
            for _, module in _modules(model)
            for name in _MODES
            if name in vars(module)
        ]
        try:
            for module, name, _ in modes:
                setattr(module, name, True)
            yield
        finally:
            for module, name, value in modes:
                setattr(module, name, value)

    def place(self, model: nnx.Module, batch: Any) -> Any:
        return batch  # JAX moves what is not placed

    def wait(self) -> None:
        jax.effects_barrier()  # type: ignore[no-untyped-call]


@contextmanager
def _become(model: nnx.Module, derive: Callable[[type[Module], str], type[Module]]) -> Iterator[None]:
    """A context in which each layer is of a class that is derived from its own."""
    kinds = [(name, layer, type(layer)) for name, layer in _layers(model)]
    try:
        for name, layer, kind in kinds:
            layer.__class__ = derive(kind, name)
        yield
    finally:
        for _, layer, kind in kinds:
            layer.__class__ = kind


def _derive(kind: type[Module], name: str, watch: "ReferenceType[_Watch]") -> type[Module]:
    """A class of the same modules that hands on the coefficients of every call."""

    def send(*coefficients: jax.Array) -> None:
        # From a thread of the runtime's, which reading an array would block.
        if (told := watch()) is not None:
            told.hand_on(name, coefficients, True)

    def call(self: Module, x: Any, return_coefficients: bool = False, **options: Any) -> Any:
        y, coefficients = kind.__call__(self, x, True, **options)
        if any(isinstance(each, jax.core.Tracer) for each in coefficients):
            jax.debug.callback(send, *map(jax.lax.stop_gradient, coefficients))
        elif (told := watch()) is not None:
            told.hand_on(name, coefficients, False)
        return (y, coefficients) if return_coefficients else y

    return _subclass(kind, call)


def _derive_changed(kind: type[Module], name: str, change: Change) -> type[Module]:
    """A class of the same modules that gives what a function makes of every output."""

    def call(self: Module, x: Any, return_coefficients: bool = False, **options: Any) -> Any:
        y, coefficients = kind.__call__(self, x, True, **options)
        if isinstance(y, jax.core.Tracer):
            remedy = "a compiled call has no values: pass a call= that does not compile the model"
            raise TensorMoEError("model", type(self), remedy)
        y = change(name, self, x, coefficients, y)
        return (y, coefficients) if return_coefficients else y

    return _subclass(kind, call)


def _subclass(kind: type[Module], call: Callable[..., Any]) -> type[Module]:
    body = {"__call__": call, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    make: Any = type(kind)
    derived: type[Module] = make(kind.__name__, (kind,), body)
    return derived


def _modules(model: nnx.Module) -> list[tuple[tuple[object, ...], nnx.Module]]:
    return [(path, node) for path, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)]


def _layers(model: nnx.Module) -> list[tuple[str, Module]]:
    modules = [(path, module) for path, module in _modules(model) if isinstance(module, Module)]
    layers = [(path, module) for path, module in modules if module.experts]
    for path, layer in layers:
        first = layer.spec.core_names[0]
        if layer._variable(first).shape != layer.spec.mixture_shapes[first]:
            remedy = "it holds several layers, stacked: put each into a module of its own to tell them apart"
            raise TensorMoEError(_join(path), type(layer), remedy)
    return [(_join(path), layer) for path, layer in layers]


def _join(path: Sequence[object]) -> str:
    return ".".join(map(str, path))


observer = Observer()
