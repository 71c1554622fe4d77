"""Features of PyTorch, or of its tools."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matrix.samples import (
    HIDDEN,
    INPUTS,
    OUTPUTS,
    TOKENS,
    Family,
    block_of,
    coefficients_of,
    draw,
    layer_of,
    module_of,
    numbers,
    output_of,
    slope_from,
    slope_of,
    values_of,
)
from support.frameworks import optional
from support.strategies import close

import tensormoe as tm

torch, tensormoe_torch = optional("torch"), optional("tensormoe_torch")
# Of float64 against differences of the definition.
SLOPE = 1e-6


def layer(family: Family, **options: Any) -> Any:
    return module_of("torch", layer_of(family), dtype="float64", **options)


def x64(*leading: int) -> Any:
    return torch.from_numpy(draw(*(leading or (TOKENS,)), INPUTS))


def right(y: Any, family: Family, x: Any, tolerance: float = 1e-12) -> None:
    spec = layer_of(family)
    close(numbers("torch", y), output_of(spec, values_of(spec), numbers("torch", x)), tolerance)


def slopes(module: Any, spec: tm.Spec, call: Any = None) -> None:
    """Gradients with respect to x and all parameters."""
    x = x64().requires_grad_()
    torch.sin((call or module)(x)).sum().backward()
    gradients = {name: numbers("torch", p.grad) for name, p in module.named_parameters()}
    actual = slope_from({**gradients, "x": numbers("torch", x.grad)})
    close(actual, slope_of(spec, values_of(spec), draw(TOKENS, INPUTS)), SLOPE)


def gradients(framework: str, family: Family) -> None:
    for spec in (layer_of(family), block_of(family)):
        slopes(module_of("torch", spec, dtype="float64"), spec)


def forward_mode(framework: str, family: Family) -> None:
    module, x = layer(family), x64()
    values = dict(module.named_parameters())
    along = {name: torch.from_numpy(draw(*p.shape, seed=9)) for name, p in values.items()}

    def loss(values: Any, x: Any) -> Any:
        return torch.sin(torch.func.functional_call(module, values, (x,))).sum()

    _, slope = torch.func.jvp(loss, (values, x), (along, torch.from_numpy(draw(*x.shape, seed=9))))
    spec = layer_of(family)
    close(numbers("torch", slope), slope_of(spec, values_of(spec), draw(TOKENS, INPUTS)), SLOPE)


def compilation(framework: str, family: Family) -> None:
    module, x = layer(family), x64()
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    right(compiled(x), family, x)


def export(framework: str, family: Family) -> None:
    module, batch = layer(family), torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(module, (x64(),), dynamic_shapes={"x": {0: batch}}).module()
    right(exported(x64(9)), family, x64(9))


def vmap(framework: str, family: Family) -> None:
    x = x64()
    right(torch.func.vmap(layer(family))(x), family, x)


def vmap_of_batch_norm(framework: str, family: Family) -> None:
    module = tm.build(layer_of(family, gate=tm.Gate(norm="batch")), "torch", seed=0)
    torch.func.vmap(module)(torch.ones(TOKENS, 2, INPUTS))


def stacked(framework: str, family: Family) -> None:
    spec, x = layer_of(family), x64()
    members = [module_of("torch", spec, values_of(spec, seed), dtype="float64") for seed in (0, 1)]
    values, buffers = torch.func.stack_module_state(members)

    def call(values: Any, buffers: Any) -> Any:
        return torch.func.functional_call(members[0], (values, buffers), (x,))

    for seed, y in enumerate(torch.func.vmap(call)(values, buffers)):
        close(numbers("torch", y), output_of(spec, values_of(spec, seed), numbers("torch", x)))


def recomputation(framework: str, family: Family) -> None:
    spec = layer_of(family)
    slopes(layer(family, recompute=True), spec)
    module = layer(family)
    slopes(module, spec, lambda x: torch.utils.checkpoint.checkpoint(module, x, use_reentrant=False))


def shapes_alone(framework: str, family: Family) -> None:
    spec = layer_of(family)
    with torch.device("meta"):
        module = tm.build(spec, "torch")
        assert module(torch.ones(TOKENS, INPUTS)).shape == (TOKENS, OUTPUTS)
    module.to_empty(device="cpu").reset_parameters(seed=3)
    for name, value in tm.initialize(spec, 3)[0].items():
        assert (module.arrays()[name].numpy() == value).all()


def mixed_precision(framework: str, family: Family) -> None:
    module = module_of("torch", layer_of(family))
    x = x64().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    right(y, family, x, 0.05)
    y.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in module.parameters())


def own_checkpoints(framework: str, family: Family) -> None:
    file, other = io.BytesIO(), tm.build(layer_of(family), "torch", seed=1, dtype="float64")
    torch.save(layer(family).state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    right(other(x64()), family, x64())


def replacement(framework: str, family: Family) -> None:
    linear = [torch.nn.Linear(INPUTS, HIDDEN), torch.nn.Linear(HIDDEN, OUTPUTS)]
    model = torch.nn.ModuleDict({"mlp": torch.nn.Sequential(linear[0], torch.nn.GELU(), linear[1])})
    x, spec = x64().float(), block_of(family)
    before = model["mlp"](x)
    report = tensormoe_torch.replace(model, "mlp", experts=4, factorization=family, gate=spec.gate)
    assert model["mlp"].spec == spec
    model["mlp"].load_arrays(values_of(spec))
    expected = output_of(spec, values_of(spec), numbers("torch", x))
    close(numbers("torch", model["mlp"](x)), expected, 1e-5)
    report.undo()
    assert torch.equal(model["mlp"](x), before)


def frozen_weights(framework: str, family: Family) -> None:
    model = torch.nn.ModuleDict({"head": torch.nn.Linear(INPUTS, OUTPUTS)}).double()
    before = model["head"](x64())
    options: dict[str, Any] = {"experts": 4, "factorization": family, "gate": tm.Gate("softmax")}
    report = tensormoe_torch.replace(model, "head", frozen=True, **options)
    close(numbers("torch", model["head"](x64())), numbers("torch", before))
    spec = model["head"].spec
    values = values_of(spec)
    model["head"].load_arrays(values)
    expected = output_of(spec, values, draw(TOKENS, INPUTS))
    close(numbers("torch", model["head"](x64())), expected)
    report.undo()
    assert torch.equal(model["head"](x64()), before)


def recordings(framework: str, family: Family) -> None:
    model, x = torch.nn.Sequential(layer(family)), draw(TOKENS, INPUTS)
    recording = tm.analysis.record(model, [x64()], progress=False)
    expected = coefficients_of(values_of(layer_of(family)), x).mean(0)
    close(recording["0"].load()[0], expected)


def routed(framework: str, family: Family) -> None:
    router = tm.AdaptiveClustering(statistics="batch", evaluation="batch")
    first, second = (
        module_of("torch", layer_of(family, INPUTS, gate), dtype="float64")
        for gate in (tm.Gate("softmax"), tm.Gate("softmax", router=router))
    )
    y, a = first(x64(), return_coefficients=True)
    expected = second(y, previous=a)
    model = torch.nn.Sequential(first, second)
    with tensormoe_torch.routed(model):
        close(numbers("torch", model(x64())), numbers("torch", expected))
    assert not torch.allclose(model(x64()), expected)


def decay_groups(framework: str, family: Family) -> None:
    """Decay alone shrinks the weight tensor as it would a dense weight."""
    module = layer(family)
    # Biases do not decay.
    biases = {core.name for term in module.spec.network.terms if term.is_bias for core in term.cores}
    for name in biases:
        torch.nn.init.zeros_(module.cores[name])
    before = module.materialize().detach()
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.AdamW(tensormoe_torch.parameter_groups(module, 1e-4), lr=1e-2).step()
    torch.testing.assert_close(module.materialize(), before * (1 - 1e-6), rtol=1e-11, atol=1e-12)


@contextmanager
def mesh() -> Iterator[Any]:
    """A mesh of this process alone; what several do is tested in tests/integrations."""
    dist = torch.distributed
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield dist.device_mesh.init_device_mesh("cpu", (1,))
    finally:
        dist.destroy_process_group()


def parallelized(family: Family, mesh: Any, style: Any) -> Any:
    return optional("torch.distributed.tensor.parallel").parallelize_module(layer(family), mesh, style)


def rank_sharding(framework: str, family: Family) -> None:
    parallel = optional("tensormoe_torch.parallel")
    with mesh() as alone:
        right(parallelized(family, alone, parallel.RankParallel())(x64()), family, x64())


def expert_sharding(framework: str, family: Family) -> None:
    parallel = optional("tensormoe_torch.parallel")
    with mesh() as alone:
        right(parallelized(family, alone, parallel.ExpertParallel())(x64()), family, x64())


def parameter_sharding(framework: str, family: Family) -> None:
    fsdp, spec = optional("torch.distributed.fsdp"), layer_of(family)
    with mesh() as alone:
        module = fsdp.fully_shard(layer(family), mesh=alone)
        x = x64().requires_grad_()
        torch.sin(module(x)).sum().backward()
        gradients = {name: p.grad.full_tensor().numpy() for name, p in module.named_parameters()}
    actual = slope_from({**gradients, "x": x.grad.numpy()})
    close(actual, slope_of(spec, values_of(spec), draw(TOKENS, INPUTS)), SLOPE)


def sharded_checkpoints(framework: str, family: Family) -> None:
    dcp, parallel = optional("torch.distributed.checkpoint"), optional("tensormoe_torch.parallel")
    with mesh() as alone, TemporaryDirectory() as folder:
        dcp.save(parallelized(family, alone, parallel.ExpertParallel()).state_dict(), checkpoint_id=folder)
        plain = tm.build(layer_of(family), "torch", seed=1, dtype="float64")
        state = plain.state_dict()
        dcp.load(state, checkpoint_id=folder)
        plain.load_state_dict(state)
    right(plain(x64()), family, x64())


def column_sharding(framework: str, family: Family) -> None:
    with mesh() as alone:
        parallelized(family, alone, torch.distributed.tensor.parallel.ColwiseParallel())


def distributed_cores(framework: str, family: Family) -> None:
    tensor, module = optional("torch.distributed.tensor"), layer(family)
    with mesh() as alone:
        module = tensor.distribute_module(module, alone)
        whole = tensor.distribute_tensor(x64(), alone, [tensor.Replicate()])
        right(module(whole).full_tensor(), family, x64())
        module(x64())


def symbolic_tracing(framework: str, family: Family) -> None:
    torch.fx.symbolic_trace(torch.nn.Sequential(layer(family)))


def tracing_of_leaves(framework: str, family: Family) -> None:
    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module: Any, name: str) -> bool:
            return isinstance(module, tensormoe_torch.MuMoE) or super().is_leaf_module(module, name)

    model = torch.nn.Sequential(layer(family))
    right(torch.fx.GraphModule(model, Tracer().trace(model))(x64()), family, x64())


def scripting(framework: str, family: Family) -> None:
    torch.jit.script(torch.nn.Sequential(layer(family)))


def tracing(framework: str, family: Family) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated as a whole
        traced = torch.jit.trace(layer(family), (x64(),))
    right(traced(x64(9)), family, x64(9))


def hooks(framework: str, family: Family) -> None:
    module, seen = layer(family), []
    module.gate.register_forward_hook(lambda _, inputs, coefficients: seen.append(coefficients[0]))
    y, (a,) = module(x64(), return_coefficients=True)
    assert seen[0] is a
    one = torch.nn.functional.one_hot(torch.zeros(TOKENS, dtype=torch.long), 4).double()
    module.gate.register_forward_hook(lambda *_: (one,))
    spec = layer_of(family)
    expected = output_of(spec, values_of(spec), draw(TOKENS, INPUTS), np.eye(4)[np.zeros(TOKENS, int)])
    close(numbers("torch", module(x64())), expected)
    assert not torch.allclose(deepcopy(module)(x64()), y)
