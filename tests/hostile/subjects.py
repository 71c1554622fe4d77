"""Everything public that can be called, derived from the public names: functions, constructors, methods."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from types import ModuleType
from typing import Any, get_args, get_type_hints

from hostile.values import KEYWORDS, Setting, base_value, instance_of
from support.frameworks import BACKENDS

import tensormoe
import tensormoe.testing
from tensormoe.arrays.registry import get_module

# Two flags of one kind of argument.
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Subject:
    """One callable.

    Args:
        name: as one would write it, "tensormoe.MuMoESpec.matched".
        owner: the class of a method that needs an instance; otherwise None.
        function: a function, a class, or a method that is not bound.
        framework: whose arrays it takes; None for any.
    """

    name: str
    owner: type | None
    function: Callable[..., Any]
    framework: str | None

    def __repr__(self) -> str:
        return self.name

    @property
    def short(self) -> str:
        """The name without its module."""
        return self.name.split(".", 1)[1]

    def parameters(self) -> list[inspect.Parameter]:
        """The parameters that a caller gives."""
        target = self.function.__init__ if inspect.isclass(self.function) else self.function
        listed = list(inspect.signature(target).parameters.values())
        return listed[1:] if listed and listed[0].name == "self" else listed

    def arguments(self, setting: Setting) -> dict[str, Any]:
        """Arguments that fit, by name."""
        arguments: dict[str, Any] = {}
        for parameter in self.parameters():
            if parameter.kind not in _VARIADIC:
                arguments[parameter.name] = base_value(self, parameter.name, setting)
            else:
                arguments |= {name: base_value(self, name, setting) for name in self._keywords(parameter)}
        return arguments

    def call(self, setting: Setting, arguments: dict[str, Any]) -> Any:
        """Call it, on an instance if it is a method."""
        positional = [
            arguments[each.name]
            for each in self.parameters()
            if each.kind is inspect.Parameter.POSITIONAL_ONLY
        ]
        names = {each.name for each in self.parameters() if each.kind is inspect.Parameter.POSITIONAL_ONLY}
        named = {name: value for name, value in arguments.items() if name not in names}
        if self.owner is None:
            return self.function(*positional, **named)
        return self.function(instance_of(self.owner, setting), *positional, **named)

    def documented(self) -> tuple[str, ...]:
        """The names of the errors under "Raises:"."""
        _, _, raises = (inspect.getdoc(self.function) or "").partition("Raises:")
        return tuple(re.findall(r"^ +(\w+Error):", raises, re.MULTILINE))

    def _keywords(self, parameter: inspect.Parameter) -> tuple[str, ...]:
        """The names behind **options: the keys of its typed dictionary."""
        target = self.function.__init__ if inspect.isclass(self.function) else self.function
        for kind in get_args(get_type_hints(target).get(parameter.name)):
            if hasattr(kind, "__required_keys__"):
                return tuple(kind.__annotations__)
        return KEYWORDS.get(self.short.rsplit(".", 1)[-1], ())


# Methods that only the library calls, and parts that layers make.
EXEMPT = {
    "program_for": "it runs at every call of a layer, with a size that an array has",
    "programs_for": "as above, with what the gate says of its coefficients",
    "plans_for": "as above",
    "Gate.active": "a specification asks it about its own levels",
    "Gate.check": "a specification hands it counts that it has checked",
    "parameter_shapes": "as above, with the features; what routers declare is checked",
    "initial_state": "as above",
    "previous_experts": "as above",
    "start": "as above, with what parameter_shapes gave",
    "GateModule": "a layer makes it",
    "GateModule.forward": "a layer hands it the tensors that it owns",
    "RouterModule.forward": "as above",
    "TensorGroup": "a layer makes it",
    "TensorGroup.register_parameter": "PyTorch calls it; tests/integrations/test_torchao.py has its refusals",
    "load_state_dict": "PyTorch has errors of its own there; test_unchanged.py tries it",
    "apply_shares": "it runs inside of shard_map; tests/backends/jax/test_sharding.py has its refusals",
    "Fixed": "a layer makes it",
    "Replacement": "replace makes it",
    "compare": "it takes as long as the fits that are asked for, which are tried one by one",
    "distill": "it trains for as many steps as are asked for; tests/backends/torch has its refusals",
    "adversarial_head": "as above; tests/analysis/test_fairness.py has its refusals",
    "quantize_cores": "it needs torchao; tests/integrations/test_torchao.py has its refusals",
    "register_profiles": "it changes Hypothesis's profiles for the whole process",
    "Inputs.map": "a step of verification",
    "Inputs.restrict": "a step of verification",
    "Certificate": "certify makes it",
    "Edited": "edit makes it",
    "RankChange": "grow, truncate, canonicalize and simplify make it",
    "change": "edit hands an edit the layer that it changes",
    "change_gate": "as above, and the gate's weights",
    "change_gates": "only the library calls it, with functions of a gate",
    "places": "as above, with the layer's experts",
    "carry": "as above, with those that differ",
    "LayerRecording": "a recording makes it",
    "Recorder": "recording makes it",
    "Recorder.chunks": "tokens are stored when it ends; Recording.chunks is tried",
    "Recorder.receive": "models hand it what they computed",
    "Recording": "record makes it",
    "Recording.merge": "it takes any number of arguments; tests/analysis has its refusals",
    "Recorder.merge": "as above",
    "Task": "a protocol",
    "Task.__call__": "as above",
    "TaskResult": "a task makes it; what it holds is checked where it is written down",
}
if BACKENDS == ("numpy",):
    EXEMPT["record"] = "NumPy has layers, but no models"
    EXEMPT["ablate_model"] = EXEMPT["record"]


def _framework(module: ModuleType) -> str | None:
    return next((name for name in BACKENDS if get_module(name) is module), None)


def _methods(kind: type) -> Iterator[tuple[str, type | None, Callable[..., Any]]]:
    """A class's own methods with arguments, but not those to which the library hands a backend."""
    for name, member in inspect.getmembers(kind):
        static = inspect.getattr_static(kind, name)
        function = getattr(static, "__func__", static)
        called = name == "__call__" or not name.startswith("_")
        if not called or not inspect.isfunction(function) or not function.__module__.startswith("tensormoe"):
            continue
        taken = list(inspect.signature(function).parameters)[1:]
        if taken and "ops" not in taken:
            yield (name, None, member) if inspect.ismethod(member) else (name, kind, function)


def find_subjects() -> list[Subject]:
    """Every callable of the public names."""
    modules = (
        tensormoe,
        tensormoe.analysis,
        tensormoe.editing,
        tensormoe.explore,
        tensormoe.fitting,
        tensormoe.testing,
        *map(get_module, BACKENDS),
    )
    subjects: dict[str, Subject] = {}
    for module in modules:
        framework = _framework(module)
        for name in module.__all__:
            public = getattr(module, name)
            full = f"{module.__name__.split('.')[-1]}.{name}"
            if inspect.isclass(public):
                own = "__init__" in vars(public) or is_dataclass(public)
                if own and not inspect.isabstract(public):
                    subjects[full] = Subject(full, None, public, framework)
                for method, owner, function in _methods(public):
                    if owner is None or not inspect.isabstract(owner):
                        subjects[f"{full}.{method}"] = Subject(f"{full}.{method}", owner, function, framework)
            elif inspect.isroutine(public):
                subjects[full] = Subject(full, None, public, framework)
    return [each for each in subjects.values() if not {each.short, each.short.split(".")[-1]} & {*EXEMPT}]
