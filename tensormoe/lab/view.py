"""What the page shows of its layers: computed from their fields, as plain data with HTML in it."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from ..analysis import pictures_style as style
from ..codec import Data
from ..displays import draw_inline, draw_table, encode, fold_away, write_line
from ..errors import TensorMoEError
from ..layers.block_spec import MuMoEBlockSpec
from ..layers.layer_spec import MuMoESpec
from ..layers.spec import Spec
from ..programs.block_plan import BlockPlan
from ..programs.plan import LARGE_BATCH, Plan
from ..verification.capacity import excess_ranks, find_unused
from ..verification.proof.trace import ProofError
from ..verification.prove import prove
from .form import Form, find_field, to_python

View: TypeAlias = dict[str, Data]

# Initial values of more parameters would take the page's time and memory.
_MOST_PARAMETERS = 2**20
_BATCHES = tuple(2**power for power in range(0, 15, 2))
_NAMES = "AB"


def show(forms: Sequence[object]) -> View:
    """Everything about one layer or two.

    Args:
        forms: the fields of each; see `Form`.

    Returns:
        Under "layers" for each either "error" and the "field" that it is about, or "network" and "details" as
        HTML, "python" and "json"; and under "together" the costs of those that are right, side by side.
    """
    views: list[Data] = []
    specs: dict[str, Spec] = {}
    for name, data in zip(_NAMES, forms, strict=False):
        try:
            form = Form.read(data)
            spec = form.spec()
            views.append(_describe(spec, form.batch))
            specs[name] = spec
        except TensorMoEError as error:
            views.append({"error": str(error), "field": find_field(error)})
    return {"layers": views, "together": _compare(specs, several=len(forms) > 1) if specs else ""}


def _describe(spec: MuMoESpec | MuMoEBlockSpec, batch_size: int) -> View:
    warnings = "".join(f"<li>{line}</li>" for line in map(write_line, _warn(spec)))
    listed = f'<ul class="warnings">{warnings}</ul>' if warnings else ""
    plan = spec.plan(batch_size)._repr_html_()
    cores = "".join(stage.network.list_cores() for stage in spec.layers.values())
    return {
        "network": draw_inline(spec) + draw_table(("", ""), _count(spec).items()) + listed,
        "details": f"<h3>Plan for {batch_size:,} vectors</h3>{plan}<h3>Proof</h3>{_prove(spec)}"
        + fold_away("the cores", cores),
        "python": to_python(spec),
        "json": spec.to_json(),
    }


def _prove(spec: Spec) -> str:
    try:
        return prove(spec)._repr_html_()
    except ProofError as error:
        return write_line(f"not proved: {error}")


def _warn(spec: Spec) -> Iterator[str]:
    """What can never be used, and what was not looked at."""
    yield from excess_ranks(spec)
    if spec.num_parameters > _MOST_PARAMETERS:
        yield f"more than {_MOST_PARAMETERS:,} parameters: whether all can be used was not looked at"
        return
    yield from map(str, find_unused(spec))


def _compare(specs: dict[str, Spec], *, several: bool) -> str:
    """Counts side by side if there are two, and costs against the batch size."""
    named = {f"layer {name}" if several else "layer": spec for name, spec in specs.items()}
    if len(specs) < 2:
        return _draw_costs(named)
    counts = [_count(spec) for spec in specs.values()]
    rows = [[name, *(each[name] for each in counts)] for name in counts[0]]
    return draw_table(["", *named], rows) + _draw_costs(named)


def _count(spec: Spec) -> dict[str, str]:
    plan, single = spec.plan(LARGE_BATCH), spec.plan(1)
    soft = [each.soft_moe for each in _parts(plan)]
    return {
        "experts": " × ".join(f"{count:,}" for count in spec.experts) or "none",
        "parameters": f"{plan.parameters:,}",
        "with the gate’s": f"{spec.num_parameters:,}",
        "as a soft MoE": f"{sum(each.parameters for each in soft):,}",
        f"MACs a vector, {LARGE_BATCH:,} at once": f"{plan.macs / LARGE_BATCH:,.0f}",
        "a vector alone": f"{single.macs:,}",
        "as a soft MoE, at once": f"{sum(each.macs for each in soft) / LARGE_BATCH:,.0f}",
    }


def _parts(plan: Plan | BlockPlan) -> tuple[Plan, ...]:
    """The plan of each layer."""
    return tuple(plan.layers.values()) if isinstance(plan, BlockPlan) else (plan,)


def _draw_costs(specs: dict[str, Spec]) -> str:
    """What each vector costs against the batch size; soft MoEs are dashed."""
    figure = style.new_figure(7.2, 2.7, "")
    left, right = figure.subplots(1, 2)
    for axis, cost, what in (
        (left, "macs", "MACs a vector"),
        (right, "traffic", "elements read or written, a vector"),
    ):
        style.tidy(axis, x="batch size", y=what)
        for (name, spec), color in zip(specs.items(), style.CURVES, strict=False):
            plans = [spec.plan(size) for size in _BATCHES]
            own = [getattr(plan, cost) / plan.batch_size for plan in plans]
            soft = [
                sum(getattr(each.soft_moe, cost) for each in _parts(plan)) / plan.batch_size for plan in plans
            ]
            axis.loglog(_BATCHES, own, ".-", color=color, label=name)
            axis.loglog(_BATCHES, soft, "--", color=color, label=f"{name} as a soft MoE", linewidth=1)
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=2,
        fontsize=style.SMALL,
        frameon=False,
    )
    return f'<img class="wide" src="{encode(figure)}" alt="costs against the batch size"/>'
