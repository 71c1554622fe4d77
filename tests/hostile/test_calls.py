"""Whatever is passed, a public callable returns a result or says what is wrong, in time and within memory."""

import re
import warnings
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from hostile.guards import TooSlow, limits
from hostile.slips import HOSTILE, variants
from hostile.subjects import Subject, find_subjects
from hostile.values import BLOCKS, LAYERS, Setting
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import BACKENDS

import tensormoe as tm

SUBJECTS = find_subjects()


pytestmark = pytest.mark.usefixtures("small_machine")


def attempt(subject: Subject, setting: Setting, arguments: dict[str, Any]) -> str | None:
    """What is wrong with the outcome of a call; None if nothing is."""
    try:
        with limits(), warnings.catch_warnings():
            # Of ∞ − ∞, and of what a framework takes for now: they are results.
            warnings.simplefilter("ignore")
            result = subject.call(setting, arguments)
            _use(result)
    except tm.TensorMoEError as error:
        return _judge(error)
    except TooSlow:
        return "it takes more than 5 seconds"
    except Exception as error:
        # A function of the caller's own fails as it likes.
        own = any(callable(arguments.get(name)) for name in ("all_reduce", "call", "family"))
        if own or type(error).__name__ in subject.documented():
            return None
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def _use(result: Any) -> None:
    """What anyone does with a result."""
    # Other results may hold what they were given, whatever it prints as.
    if isinstance(result, tm.Spec | tm.Factorization | tm.Gate | tm.Router):
        repr(result)
    if isinstance(result, tm.Spec):
        assert hash(result) == hash(result)
        _ = result.num_parameters, str(result.plan(1))
    if isinstance(result, tm.Spec | tm.Factorization | tm.Gate | tm.Router):
        with suppress(tm.TensorMoEError):  # what holds a function cannot be written
            assert type(result).from_dict(result.to_dict()) == result


def _judge(error: tm.TensorMoEError) -> str | None:
    text = str(error)
    if len(text) > 2_500 or re.search(r"\d{40}", text):
        return f"the message is too long: {text[:300]}"
    if not (error.argument and error.remedy) or str(error.argument).startswith("<"):
        return f"it does not say what to do: {text[:300]}"
    return None


@st.composite
def calls(draw: st.DrawFn) -> tuple[Subject, Setting, dict[str, Any], str]:
    """A callable with arguments that fit but for one or two."""
    subject = draw(st.sampled_from([each for each in SUBJECTS if each.parameters()]))
    frameworks = [name for name in BACKENDS if name != "jax"]
    framework = subject.framework or draw(st.sampled_from(frameworks))
    setting = Setting(
        framework, draw(st.sampled_from(LAYERS)), draw(st.sampled_from(BLOCKS)), draw(st.booleans())
    )
    arguments = subject.arguments(setting)
    told = f"{subject} ({framework}, {setting.spec})"
    for name in draw(st.lists(st.sampled_from(sorted(arguments)), min_size=1, max_size=2, unique=True)):
        slips = dict(variants(arguments[name])) if draw(st.booleans()) else {}
        label = draw(st.sampled_from([*slips] or [*HOSTILE]))
        arguments[name] = slips[label] if slips else HOSTILE[label]()
        told += f"; {name}: {label}"
    return subject, setting, arguments, told


@pytest.mark.parametrize("subject", SUBJECTS, ids=repr)
@pytest.mark.parametrize("framework", BACKENDS)
def test_arguments_that_fit_are_accepted(subject: Subject, framework: str) -> None:
    """Otherwise every refusal below would be of what is not hostile."""
    if subject.framework not in (None, framework) or (framework == "jax" and subject.framework is None):
        pytest.skip("another framework's")
    for layer, block, of_block in ((LAYERS[0], BLOCKS[0], False), (LAYERS[2], BLOCKS[1], True)):
        setting = Setting(framework, layer, block, of_block)
        subject.call(setting, subject.arguments(setting))


@settings(max_examples=20_000 if settings.default.max_examples >= 1_000 else 300)
@given(calls())
def test_hostile_arguments_are_refused_with_a_reason_or_computed(
    call: tuple[Subject, Setting, dict[str, Any], str],
) -> None:
    subject, setting, arguments, told = call
    assert (fault := attempt(subject, setting, arguments)) is None, f"{told}: {fault}"


@pytest.mark.skipif(
    settings.default.max_examples < 1_000, reason="it takes minutes: the deep profile runs it"
)
@pytest.mark.parametrize("subject", [each for each in SUBJECTS if each.parameters()], ids=repr)
def test_every_hostile_value_of_every_argument_is_refused_or_computed(subject: Subject) -> None:
    setting = Setting(subject.framework or BACKENDS[0], LAYERS[0], BLOCKS[1], False)
    faults = {}
    for name, label in product(subject.arguments(setting), HOSTILE):
        arguments = {**subject.arguments(setting), name: HOSTILE[label]()}
        if fault := attempt(subject, setting, arguments):
            faults[name, label] = fault
    assert not faults
