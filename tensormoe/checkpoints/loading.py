"""Read layers from a file."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

from ..codec import read_json
from ..errors import TensorMoEError
from ..layers.building import restore
from ..layers.spec import Spec
from ..typing import NumPyArray
from .certificates import CERTIFICATES, Certificate, compare
from .files import check_path
from .history import HISTORY, Described, History, read_history
from .saved import Names, SavedLayer, full_name, nest
from .saving import warn_of_nan
from .tensor_file import unpack

# A layer's specification, and its history if it has one.
_Described: TypeAlias = tuple[Spec, Described | None]


def load(path: str | os.PathLike[str], backend: str, **options: Any) -> Any:
    """Build the layer that `tm.save` wrote, whichever framework it came from.

    Everything is read and checked before anything is built. No initial values are drawn.

    Args:
        path: of the file.
        backend: "torch", "jax", "numpy", or another installed backend that has modules.
        options: dtype, device or recompute, as for the module. By default every array has the type, and the
            very bits, that it was saved with.

    Returns:
        The framework's own module; nested dictionaries of modules if several were saved by name.

    Raises:
        TensorMoEError: no such file; one that `tm.save` did not write, or that has changed since, if only by
            one bit; a specification with a class of your own that is not defined; an unknown backend or
            option.

    Warns:
        UserWarning: there are NaN among the values.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import tensormoe as tm
        >>> path = Path(tempfile.mkdtemp()) / "blocks.safetensors"
        >>> spec = tm.MuMoEBlockSpec(8, 16, 8, experts=4, factorization=tm.CP(rank=5))
        >>> tm.save({name: tm.build(spec, "numpy") for name in ("h.0", "h.1")}, path)
        >>> blocks = tm.load(path, "numpy", dtype="float64")
        >>> list(blocks), blocks["h.0"].dtype
        (['h.0', 'h.1'], dtype('float64'))
    """
    # What was just read is nobody else's.
    given = {"copy": False, **options}
    layers = read_file(check_path(path))
    return nest(
        {names: restore(each.spec, each.arrays(), backend, **given) for names, (each, _) in layers.items()}
    )


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """Read what `tm.save` wrote without a framework: specifications and NumPy arrays.

    Use it to look into a file, or for the functional API.

    Args:
        path: of the file.

    Returns:
        A `tm.SavedLayer`; nested dictionaries of them if several were saved by name.

    Raises:
        TensorMoEError: as `tm.load`.

    Warns:
        UserWarning: there are NaN among the values.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> path = Path(tempfile.mkdtemp()) / "layer.safetensors"
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> tm.save(tm.SavedLayer(spec, *tm.initialize(spec)), path)
        >>> saved = tm.load_arrays(path)
        >>> tm.apply(saved.spec, saved.parameters, np.ones((2, 8), "float32"), state=saved.state).y.shape
        (2, 6)
    """
    return nest({names: each for names, (each, _) in read_file(check_path(path)).items()})


def read_file(path: str) -> dict[Names, tuple[SavedLayer, History | None]]:
    """All layers of a file by the names that lead to them, with their histories.

    Raises:
        TensorMoEError: as `load`.
    """
    tensors, text = unpack(path)
    with _explain_specs(path):
        specs = _read_specs(read_json(text))
        _check(tensors, specs)
    warn_of_nan(tensors, path, callers=3)
    return {names: _pick(tensors, names, *each) for names, each in specs.items()}


def read_certificates(path: str | os.PathLike[str]) -> tuple[Certificate, ...]:
    """What certificates a file of layers has, and whether those beside it belong to it.

    Args:
        path: of a file that `tm.save` wrote with `certificate=True`.

    Raises:
        TensorMoEError: as `load`; a layer that was saved without a certificate.
    """
    target = check_path(path)
    _, text = unpack(target)
    with _explain_specs(target):
        data = read_json(text)
        specs = _read_specs(data)
    listed = cast(list[dict[str, object]], data["layers"])
    compared = [
        compare(names, spec, each.get(CERTIFICATES), target)
        for (names, (spec, _)), each in zip(specs.items(), listed, strict=True)
    ]
    return tuple(certificate for each in compared for certificate in each)


@contextmanager
def _explain_specs(path: str) -> Iterator[None]:
    """A context in which errors of specifications name the file."""
    try:
        yield
    except TensorMoEError as error:
        remedy = "save the layer again; if a class of your own is missing, define or import it first"
        raise TensorMoEError("path", path, f"its specification does not hold ({error}): {remedy}") from error


def _read_specs(data: Mapping[str, object]) -> dict[Names, _Described]:
    specs: dict[Names, _Described] = {}
    listed = data.get("layers")
    for each in listed if isinstance(listed, list) else ():
        match each:
            case {"names": list(names), "spec": dict(spec)} if all(isinstance(name, str) for name in names):
                specs[tuple(names)] = Spec.from_dict(spec), read_history(each.get(HISTORY))
            case _:
                raise TensorMoEError("layers", each, "this is not a layer's names and specification")
    inner = [names for names in specs if any(names[:count] in specs for count in range(len(names)))]
    if not specs or inner:
        raise TensorMoEError("layers", inner, "there is no layer, or one that contains others")
    return specs


def _check(tensors: Mapping[str, NumPyArray], specs: Mapping[Names, _Described]) -> None:
    """Raise an error unless the tensors are those of the specifications."""
    wanted = {
        full_name(names, name): shape
        for names, (spec, _) in specs.items()
        for name, shape in (spec.parameter_shapes | spec.state_shapes).items()
    }
    wanted |= {
        full_name((*names, HISTORY), name): shape
        for names, (_, history) in specs.items()
        for name, shape in (history.shapes if history else {}).items()
    }
    for fault, names in (
        ("missing", wanted.keys() - tensors.keys()),
        ("unknown", tensors.keys() - wanted.keys()),
    ):
        if names:
            raise TensorMoEError("tensors", sorted(tensors), f"{fault}: {', '.join(sorted(names))}")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise TensorMoEError(name, tensors[name].shape, f"by its specification its shape is {shape}")


def _pick(
    tensors: Mapping[str, NumPyArray], names: Names, spec: Spec, history: Described | None
) -> tuple[SavedLayer, History | None]:
    parameters, state = (
        {name: tensors[full_name(names, name)] for name in shapes}
        for shapes in (spec.parameter_shapes, spec.state_shapes)
    )
    layer = SavedLayer(_fill(spec, state), parameters, state)
    if history is None:
        return layer, None
    arrays = {name: tensors[full_name((*names, HISTORY), name)] for name in history.shapes}
    return layer, History(history.spec, history.edits, arrays)


def _fill(spec: Spec, state: Mapping[str, NumPyArray]) -> Spec:
    """The specification with the values of its fixed cores, where it had only their digests."""
    filled = []
    for prefix, stage in spec.layers.items():
        missing = {name: state[f"{prefix}.{name}"] for name, each in stage.network.fixed if not each.is_known}
        try:
            filled.append(stage.factorization.with_fixed(missing))
        except TensorMoEError:
            # A layer of another type has other values, which are rounded.
            return spec
    if all(each is stage.factorization for each, stage in zip(filled, spec.layers.values(), strict=True)):
        return spec
    return spec.replace(factorization=filled if len(filled) > 1 else filled[0])
