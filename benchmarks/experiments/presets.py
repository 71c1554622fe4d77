"""Configurations from TOML: presets by name, and single values from the command line."""

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from tensormoe.errors import TensorMoEError

from .experiment import Experiment
from .trial import C, Configuration

FOLDER = Path(__file__).with_name("presets")


def read(experiment: Experiment[C], preset: str = "small", changes: Mapping[str, object] | None = None) -> C:
    """The configuration of a preset, with some values changed.

    Raises:
        TensorMoEError: a preset that is not in the file; a key that is not a field; a value of another type,
            or none where the field has no default.
    """
    path = _path(experiment)
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    if preset not in tables:
        raise TensorMoEError("preset", preset, f"{path.name} has {', '.join(tables)}")
    return build(experiment.configuration, {**tables[preset], **(changes or {})}, f"{path.name} [{preset}]")


def build(kind: type[C], values: Mapping[str, object], where: str = "configuration") -> C:
    """A configuration of these values; lists become tuples."""
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise TensorMoEError(where, ", ".join(unknown), f"remove it; the keys are {', '.join(known)}")
    missing = [
        name
        for name, each in known.items()
        if name not in values and each.default is MISSING and each.default_factory is MISSING
    ]
    if missing:
        raise TensorMoEError(where, "nothing", f"add {', '.join(missing)}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(f"{where} {name}", value, hints[name]) for name, value in values.items()})


def parse(settings: Sequence[str]) -> dict[str, object]:
    """Values from "name=value" of the command line: a value of TOML, or text as it stands."""
    changes = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign:
            raise TensorMoEError("set", setting, "write name=value, such as seeds=3")
        try:
            changes[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[name] = value
    return changes


def as_json(configuration: Configuration) -> dict[str, object]:
    """A configuration as JSON holds it."""
    values = asdict(configuration)  # type: ignore[call-overload]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _path(experiment: Experiment[C]) -> Path:
    own = FOLDER / f"{experiment.name}.toml"
    if own.exists():
        return own
    module = sys.modules[experiment.configuration.__module__]
    return Path(str(module.__file__)).with_suffix(".toml")


def _value(where: str, value: object, hint: object) -> object:
    """The value, if it is of the field's type."""
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise TensorMoEError(where, value, "write a list, such as [1, 2]")
        return tuple(_value(where, each, get_args(hint)[0]) for each in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is not hint:
        raise TensorMoEError(where, value, f"its type is {hint.__name__}")
    return value
