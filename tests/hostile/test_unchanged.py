"""Where something does not fit, nothing changes: not what was loaded before it, and no running statistic."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hostile.slips import HOSTILE, variants
from hostile.values import BLOCKS, LAYERS, Setting
from hypothesis import given
from hypothesis import strategies as st
from support.frameworks import BACKENDS, optional

import tensormoe as tm

torch = optional("torch")
RICH = (LAYERS[2], BLOCKS[1])


def held(module: Any) -> dict[str, np.ndarray]:
    """Copies of a module's parameters and statistics by name."""
    spec = module.spec
    names = (*spec.parameter_shapes, *spec.state_shapes)
    if hasattr(module, "state_dict"):
        return {name: module.state_dict()[name].detach().numpy().copy() for name in names}
    if hasattr(module, "parameters"):
        return {name: (module.parameters | module.state)[name].copy() for name in names}
    return {name: np.array(module._variable(name).get_value()) for name in names}


def same(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def spoil(draw: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """The same arrays, the last of them first, with something that does not fit in any one's place."""
    spoilt = dict(reversed(arrays.items()))
    name = draw(st.sampled_from(list(arrays)))
    slips = dict(variants(arrays[name]))
    label = draw(st.sampled_from([*HOSTILE, *slips, "missing", "unknown"]))
    if label == "missing":
        del spoilt[name]
    elif label == "unknown":
        spoilt["bogus"] = spoilt[name]
    else:
        spoilt[name] = slips[label] if label in slips else HOSTILE[label]()
    return spoilt


@pytest.mark.parametrize("backend", BACKENDS)
@given(spec=st.sampled_from(RICH), data=st.data())
def test_arrays_that_do_not_fit_leave_a_module_as_it_was(
    backend: str, spec: tm.Spec, data: st.DataObject
) -> None:
    module = tm.build(spec, backend, seed=0)
    before = held(module)
    parameters, state = tm.initialize(spec, seed=1)
    try:
        module.load_arrays(spoil(data.draw, parameters | state))
    except tm.TensorMoEError:
        assert same(held(module), before)
    else:
        assert not same(held(module), before)


@given(spec=st.sampled_from(RICH), strict=st.booleans(), data=st.data())
def test_a_state_dict_that_does_not_fit_leaves_a_module_as_it_was(
    spec: tm.Spec, strict: bool, data: st.DataObject
) -> None:
    module = tm.build(spec, "torch", seed=0)
    before = held(module)
    saved = dict(tm.build(spec, "torch", seed=1).state_dict())
    try:
        module.load_state_dict(spoil(data.draw, saved), strict=strict)
    except tm.TensorMoEError:
        assert same(held(module), before)
    else:
        assert not same(held(module), before)


@pytest.mark.parametrize("backend", sorted({"torch", "jax"} & {*BACKENDS}))
@given(
    spec=st.sampled_from(RICH),
    name=st.sampled_from(["x", "previous", "generator", "all_reduce"]),
    label=st.sampled_from(sorted(HOSTILE)),
)
def test_a_call_that_fails_moves_no_statistics(backend: str, spec: tm.Spec, name: str, label: str) -> None:
    setting = Setting(backend, LAYERS[2], BLOCKS[1], spec is BLOCKS[1])
    module = tm.build(spec, backend, seed=0)
    module.train()
    before = held(module)
    coefficients = setting.arrays(*((2, n) for n in spec.experts))
    arguments = {"x": setting.arrays((2, 3))[0], "previous": coefficients, name: HOSTILE[label]()}
    try:
        module(**arguments)
    except tm.TensorMoEError:
        assert same(held(module), before)
    except Exception:
        # A function of the caller's own fails as it likes.
        assert callable(arguments.get("all_reduce"))
        assert same(held(module), before)


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_cores_of_another_type_move_no_statistics() -> None:
    module = tm.build(LAYERS[2], "torch", seed=0)
    module.train()
    module.cores.double()
    before = held(module)
    with pytest.raises(tm.TensorMoEError, match="float64"):
        module(torch.ones(2, 3), generator=torch.Generator())
    assert same(held(module), before)
