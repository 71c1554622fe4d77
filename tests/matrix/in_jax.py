"""Features of JAX and Flax, or of their tools."""

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matrix.samples import (
    INPUTS,
    OUTPUTS,
    TOKENS,
    TOLERANCE,
    Family,
    array,
    coefficients_of,
    directions_of,
    draw,
    layer_of,
    module_of,
    numbers,
    output_of,
    run,
    slope_from,
    slope_of,
    values_of,
)
from support.frameworks import optional
from support.strategies import close

import tensormoe as tm

jax, jnp, nnx = optional("jax"), optional("jax.numpy"), optional("flax.nnx")
tensormoe_jax = optional("tensormoe_jax")
# Of float32 against differences of the definition; the slope is a sum over all parameters.
SLOPE = 1e-4


def given(values: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: array("jax", value) for name, value in values.items()}


def x32(*leading: int) -> Any:
    return array("jax", draw(*(leading or (TOKENS,)), INPUTS))


def right(y: Any, family: Family, x: Any, tolerance: float = TOLERANCE) -> None:
    spec = layer_of(family)
    close(numbers("jax", y), output_of(spec, values_of(spec), numbers("jax", x)), tolerance)


def loss(spec: tm.Spec, parameters: Any, x: Any, **options: Any) -> tuple[Any, Any]:
    y = tensormoe_jax.apply(spec, parameters, x, **options).y
    return jnp.sin(y).sum(), y


@cache
def differentiated(family: Family) -> tuple[Any, Any]:
    """The output and the gradients of one compiled step."""
    spec = layer_of(family)
    step = jax.jit(jax.value_and_grad(partial(loss, spec), argnums=(0, 1), has_aux=True))
    (_, y), gradients = step(given(values_of(spec)), x32())
    return y, gradients


def slopes(gradients: Any, spec: tm.Spec) -> None:
    of_parameters, of_x = gradients
    named = {name: numbers("jax", value) for name, value in of_parameters.items()}
    actual = slope_from({**named, "x": numbers("jax", of_x)})
    close(actual, slope_of(spec, values_of(spec), draw(TOKENS, INPUTS)), SLOPE)


def gradients(framework: str, family: Family) -> None:
    slopes(differentiated(family)[1], layer_of(family))


def compilation(framework: str, family: Family) -> None:
    right(differentiated(family)[0], family, x32())


def forward_mode(framework: str, family: Family) -> None:
    spec = layer_of(family)
    point = {**values_of(spec), "x": draw(TOKENS, INPUTS)}

    def total(point: dict[str, Any]) -> Any:
        return loss(spec, {name: point[name] for name in spec.parameter_shapes}, point["x"])[0]

    _, slope = jax.jvp(total, (given(point),), (given(directions_of(point)),))
    close(numbers("jax", slope), slope_of(spec, values_of(spec), draw(TOKENS, INPUTS)), SLOPE)


def export(framework: str, family: Family) -> None:
    spec = layer_of(family)
    call = jax.jit(lambda parameters, x: tensormoe_jax.apply(spec, parameters, x).y)
    (batch,) = jax.export.symbolic_shape("batch")
    shaped = jax.ShapeDtypeStruct((batch, INPUTS), jnp.float32)
    exported = jax.export.export(call)(given(values_of(spec)), shaped)
    again = jax.export.deserialize(exported.serialize())
    right(again.call(given(values_of(spec)), x32(9)), family, x32(9))


def vmap(framework: str, family: Family) -> None:
    spec = layer_of(family)
    call = jax.vmap(lambda parameters, x: loss(spec, parameters, x)[1], in_axes=(None, 0))
    right(call(given(values_of(spec)), x32()), family, x32())


def vmap_of_batch_norm(framework: str, family: Family) -> None:
    layer = tm.build(layer_of(family, gate=tm.Gate(norm="batch")), "jax", seed=0)
    nnx.vmap(lambda layer, x: layer(x), in_axes=(None, 0))(layer, x32(TOKENS, 2))


def stacked(framework: str, family: Family) -> None:
    spec = layer_of(family, INPUTS)
    layers = tensormoe_jax.stacked(spec, n=2, seed=0)
    layers.load_arrays(
        {name: np.stack([values_of(spec, seed)[name] for seed in (0, 1)]) for name in values_of(spec)}
    )

    @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
    def run(layer: Any, x: Any) -> Any:
        return layer(x)

    expected = draw(TOKENS, INPUTS)
    for seed in (0, 1):
        expected = output_of(spec, values_of(spec, seed), expected)
    close(numbers("jax", run(layers, x32())), expected, 1e-4)


def recomputation(framework: str, family: Family) -> None:
    spec = layer_of(family)
    call = jax.checkpoint(partial(loss, spec, recompute=True))
    step = jax.jit(jax.grad(call, argnums=(0, 1), has_aux=True))
    slopes(step(given(values_of(spec)), x32())[0], spec)


def shapes_alone(framework: str, family: Family) -> None:
    spec = layer_of(family)
    layer = nnx.eval_shape(lambda: tm.build(spec, "jax", rngs=nnx.Rngs(0)))
    held = {name: value.shape for name, value in layer.arrays().items()}
    assert held == {**spec.parameter_shapes, **spec.state_shapes}
    assert all(isinstance(value, jax.ShapeDtypeStruct) for value in layer.arrays().values())


def compiled_initial_values(framework: str, family: Family) -> None:
    spec = layer_of(family)
    program = jax.jit(lambda key: tensormoe_jax.initialize(spec, key=key)[0]).lower(jax.random.key(0))
    assert {name: value.shape for name, value in program.out_info.items()} == spec.parameter_shapes
    # The program holds no values: there would be as many constants as rows.
    assert program.as_text().count("dense<[[") == 0


def mixed_precision(framework: str, family: Family) -> None:
    spec = layer_of(family)

    def half(parameters: Any, x: Any) -> tuple[Any, Any]:
        cast = {name: value.astype(jnp.bfloat16) for name, value in parameters.items()}
        total, y = loss(spec, cast, x.astype(jnp.bfloat16))
        return total.astype(jnp.float32), y

    _, y = jax.jit(half)(given(values_of(spec)), x32())
    right(y, family, x32(), 0.05)
    gradients, _ = jax.eval_shape(jax.grad(half, has_aux=True), given(values_of(spec)), x32())
    assert {value.dtype for value in gradients.values()} == {jnp.dtype("float32")}


def own_checkpoints(framework: str, family: Family) -> None:
    """By orbax."""
    ocp, other = optional("orbax.checkpoint"), tm.build(layer_of(family), "jax", seed=1)
    with TemporaryDirectory() as folder, ocp.StandardCheckpointer() as checkpointer:
        path = Path(folder) / "layer"
        checkpointer.save(path, nnx.state(module_of("jax", layer_of(family))))
        checkpointer.wait_until_finished()
        nnx.update(other, checkpointer.restore(path, nnx.state(other)))
    right(other(x32()), family, x32())


def replacement(framework: str, family: Family) -> None:
    rngs, spec = nnx.Rngs(0), layer_of(family)
    model = nnx.Dict(head=nnx.Linear(INPUTS, OUTPUTS, rngs=rngs))
    before = model.head(x32())
    options: dict[str, Any] = {"experts": 4, "factorization": family, "gate": spec.gate, "seed": 0}
    report = tensormoe_jax.replace(model, "head", **options)
    assert model.head.spec == spec
    model.head.load_arrays(values_of(spec))
    right(model.head(x32()), family, x32())
    report.undo()
    assert (model.head(x32()) == before).all()


def frozen_weights(framework: str, family: Family) -> None:
    model = nnx.Dict(head=nnx.Linear(INPUTS, OUTPUTS, rngs=nnx.Rngs(0)))
    before = model.head(x32())
    options: dict[str, Any] = {"experts": 4, "factorization": family, "seed": 0}
    report = tensormoe_jax.replace(model, "head", frozen=True, **options)
    close(numbers("jax", run(model.head, x32())), numbers("jax", before), TOLERANCE)
    held = sum(each.size for each in jax.tree.leaves(nnx.state(model.head, nnx.Param)))
    assert held == report.rows[0].parameters_after
    report.undo()
    assert (model.head(x32()) == before).all()


def recordings(framework: str, family: Family) -> None:
    model, x = nnx.Sequential(module_of("jax", layer_of(family))), draw(TOKENS, INPUTS)
    recording = tm.analysis.record(model, [x32()], progress=False)
    expected = coefficients_of(values_of(layer_of(family)), x).mean(0)
    close(recording["layers.0"].load()[0], expected, TOLERANCE)


def rank_sharding(framework: str, family: Family) -> None:
    _in_shares(family, "rank")


def expert_sharding(framework: str, family: Family) -> None:
    _in_shares(family, "experts")


def _in_shares(family: Family, what: str) -> None:
    """Two shares side by side under vmap, which sums over them as shard_map does over devices."""
    spec, name = layer_of(family), "shares"
    specs = tensormoe_jax.partition_specs(spec, **{what: name})
    axes = {key: ([*lies].index(name) if name in lies else None) for key, lies in specs.items()}
    arrays = given(values_of(spec))
    shares = {
        key: value if axes[key] is None else jnp.stack(jnp.split(value, 2, axis=axes[key]))
        for key, value in arrays.items()
    }

    def share(shares: Any, x: Any) -> Any:
        return tensormoe_jax.apply_shares(spec, shares, x, **{what: name}).y

    mapped = {key: None if axis is None else 0 for key, axis in axes.items()}
    y = jax.jit(jax.vmap(share, in_axes=(mapped, None), axis_name=name))(shares, x32())
    right(y[1], family, x32())


def parameter_sharding(framework: str, family: Family) -> None:
    """On a mesh of this device alone; what several do is tested in tests/backends/jax."""
    spec, P = layer_of(family), jax.sharding.PartitionSpec
    mesh = jax.make_mesh((1,), ("data",))
    with jax.set_mesh(mesh):
        everywhere = jax.sharding.NamedSharding(mesh, P("data"))
        values = jax.device_put(given(values_of(spec)), everywhere)
        y = jax.jit(lambda values, x: tensormoe_jax.apply(spec, values, x).y)(
            values, jax.device_put(x32(), everywhere)
        )
    right(y, family, x32())
