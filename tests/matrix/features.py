"""The matrix: what works in which framework, and what does not, with reasons. Tests and page follow from it.

For each framework, a feature is a function of framework and family, with the words by which a user finds it.
Where a framework has no such thing, there is a sentence that says why. What is expected to fail is listed in
`FAILURES`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from matrix import anywhere, experts, in_jax, in_torch, structures
from matrix.samples import list_families

import tensormoe as tm

Check: TypeAlias = Callable[[str, tm.Factorization], None]
EVERY_FRAMEWORK = ("numpy", "torch", "jax")
FRAMEWORKS = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}
FAMILIES = list_families()


@dataclass(frozen=True)
class Way:
    """How a framework has a feature.

    Args:
        words: in the page.
        check: raises unless the feature works for a family.
        once: why one family stands for all, if it does.
    """

    words: str
    check: Check
    once: str = ""


@dataclass(frozen=True)
class Feature:
    """A row of the matrix: for each framework a way, or why there is none."""

    name: str
    numpy: Way | str
    torch: Way | str
    jax: Way | str

    def way(self, framework: str) -> Way | str:
        way: Way | str = getattr(self, framework)
        return way


@dataclass(frozen=True)
class Failure:
    """What fails, with which error and why: strictly, so that what works is not listed here for long.

    Args:
        feature, frameworks: of the matrix.
        families: which fail, by name; all if there is none.
        error: its type, exactly.
        says: a part of the error's text.
        reason: a sentence for users.
    """

    feature: str
    frameworks: tuple[str, ...]
    families: tuple[str, ...]
    error: type[Exception]
    says: str
    reason: str


def everywhere(words: str, check: Check, once: str = "") -> tuple[Way, Way, Way]:
    """The same way in all frameworks."""
    way = Way(words, check, once)
    return way, way, way


GATE_ALONE = "the gate knows nothing of the factorization"
SCANNED = "a scan compiles the program of one layer, as `jax.jit` does"
COPIED = "the copy is a layer in half precision"
NO_GRADIENTS = "NumPy has no automatic differentiation."
NO_COMPILER = "NumPy runs each operation as it comes."
ONE_PROCESS = "NumPy's arrays belong to one process; a layer's shares are those of PyTorch or JAX."
LIKE_ANY = "arrays are told apart by name alone"
REFUSED = "the layer is refused before its family matters"
ONE_FORM = "without experts its notation is another"

FEATURES = (
    Feature("layers", *everywhere("`layer(x)`", anywhere.forward)),
    Feature("blocks", *everywhere("`tm.MuMoEBlockSpec`", anywhere.blocks)),
    Feature("gated blocks", *everywhere("`gated=True`", anywhere.gated_blocks)),
    Feature("pure functions", *everywhere("`tm.apply`, `tm.contract`", anywhere.functions)),
    Feature("the weight tensor", *everywhere("`layer.materialize()`", anywhere.weight_tensor)),
    Feature("matching a budget", *everywhere("`spec.matched`", anywhere.matching)),
    Feature("proof and exact verification", *everywhere("`tm.verify`", anywhere.proof_and_verification)),
    Feature("sums of networks", *everywhere('`"i o + n r, i r, r o"`, `a + b`', structures.sums)),
    Feature("split modes", *everywhere("`i=(24, 32)`", structures.split_modes)),
    Feature("padding of split modes", *everywhere("`pad=True`", structures.padding)),
    Feature("shared cores", *everywhere('`"A: i r, …"` twice', structures.shared_cores)),
    Feature(
        "cores that layers of a block share", *everywhere("`shared=`", structures.cores_of_several_layers)
    ),
    Feature("fixed cores", *everywhere('`fixed={"H": …}`', structures.fixed_cores)),
    Feature(
        "a factorization for each layer",
        *everywhere("`factorization=(…, …)` of a block", structures.factorizations_of_layers),
    ),
    Feature("layers without experts", *everywhere("`experts=()`", structures.no_experts, ONE_FORM)),
    Feature(
        "coefficients of your own",
        *everywhere("`gate=None`, `coefficients=`", structures.given_coefficients, GATE_ALONE),
    ),
    Feature("a gate for each level", *everywhere("`gate=(…, …)`", structures.gates_of_levels, GATE_ALONE)),
    Feature(
        "routers with parameters",
        *everywhere("`tm.LowRankRouter`, `tm.CosineRouter`", structures.routers, GATE_ALONE),
    ),
    Feature(
        "inputs of the router's own",
        *everywhere("`gate_features=`, `router_input=`", structures.router_inputs, GATE_ALONE),
    ),
    Feature("one weight for each sequence", *everywhere("`layer.merge`, `apply_merged`", experts.merging)),
    Feature("few experts' slices", *everywhere("`spec.plan(active=)`", experts.slices)),
    Feature("Adaptive Clustering", *everywhere("`previous=`", anywhere.adaptive_clustering, GATE_ALONE)),
    Feature(
        "coefficients from block to block",
        "Pass `previous=`: there are no models that would have to know nothing of it.",
        Way("`tensormoe_torch.routed`", in_torch.routed, GATE_ALONE),
        "Pass `previous=`: modules of your own hand it on.",
    ),
    Feature(
        "hooks on coefficients",
        "Pass `return_coefficients=True`.",
        Way("`layer.gate.register_forward_hook`", in_torch.hooks, GATE_ALONE),
        "Flax has no hooks: pass `return_coefficients=True`.",
    ),
    Feature("batch norm of the gate", *everywhere('`norm="batch"`', anywhere.batch_norm, GATE_ALONE)),
    Feature(
        "the same over several processes",
        Way("`all_reduce=` of `tm.apply`", anywhere.synchronized_batch_norm, GATE_ALONE),
        Way("`tensormoe_torch.synchronize`, `all_reduce=`", anywhere.synchronized_batch_norm, GATE_ALONE),
        Way("`jax.jit`; `all_reduce=` in `shard_map`", anywhere.synchronized_batch_norm, GATE_ALONE),
    ),
    Feature("fit to a weight", *everywhere("`tm.fit`", anywhere.fit)),
    Feature("experts that start as a dense layer", *everywhere("`tm.upcycle`", anywhere.upcycle)),
    Feature("TensorLy's decompositions", *everywhere("`tm.from_tensorly`", anywhere.tensorly)),
    Feature("higher ranks, the same weight", *everywhere("`tm.grow`", experts.growing)),
    Feature("lower ranks", *everywhere("`tm.truncate`", experts.truncating)),
    Feature("isometries", *everywhere("`tm.canonicalize`", experts.canonicalizing)),
    Feature("redundant ranks removed", *everywhere("`tm.simplify`", experts.simplifying)),
    Feature("edits with certificates", *everywhere("`tm.editing.edit`", experts.editing)),
    Feature("ablation", *everywhere("`tm.analysis.ablate`", experts.ablation)),
    Feature(
        "recordings of coefficients",
        "NumPy has no models.",
        Way("`tm.analysis.record`", in_torch.recordings, GATE_ALONE),
        Way("`tm.analysis.record`", in_jax.recordings, GATE_ALONE),
    ),
    Feature(
        "gradients",
        NO_GRADIENTS,
        Way("`backward()`", in_torch.gradients),
        Way("`jax.grad`, `nnx.grad`", in_jax.gradients),
    ),
    Feature(
        "forward-mode derivatives",
        NO_GRADIENTS,
        Way("`torch.func.jvp`", in_torch.forward_mode),
        Way("`jax.jvp`", in_jax.forward_mode),
    ),
    Feature(
        "recomputation",
        NO_GRADIENTS,
        Way("`recompute=True`, `torch.utils.checkpoint`", in_torch.recomputation),
        Way("`recompute=True`, `jax.checkpoint`", in_jax.recomputation),
    ),
    Feature(
        "weight decay of a product",
        NO_GRADIENTS,
        Way("`tensormoe_torch.parameter_groups`", in_torch.decay_groups),
        "Masks of optax choose by name: `gate_weights`, `expert1`, `input`, `output`.",
    ),
    Feature(
        "compilation",
        NO_COMPILER,
        Way("`torch.compile(fullgraph=True)`", in_torch.compilation),
        Way("`jax.jit`, `nnx.jit`", in_jax.compilation),
    ),
    Feature(
        "export",
        NO_COMPILER,
        Way("`torch.export`, any batch size", in_torch.export),
        Way("`jax.export`, any batch size", in_jax.export),
    ),
    Feature(
        "tracing",
        NO_COMPILER,
        Way("`torch.jit.trace`", in_torch.tracing),
        "`jax.jit` and `jax.export` are JAX's only tracers.",
    ),
    Feature(
        "scripting",
        NO_COMPILER,
        Way("`torch.jit.script`", in_torch.scripting, REFUSED),
        "JAX has no such compiler.",
    ),
    Feature(
        "symbolic tracing",
        NO_COMPILER,
        Way("`torch.fx.symbolic_trace`", in_torch.symbolic_tracing, REFUSED),
        "JAX has no such tracer.",
    ),
    Feature(
        "symbolic tracing around layers",
        NO_COMPILER,
        Way("`torch.fx.Tracer`, with layers as its leaves", in_torch.tracing_of_leaves, REFUSED),
        "JAX has no such tracer.",
    ),
    Feature(
        "vmap",
        "Layers take any leading axes.",
        Way("`torch.func.vmap`", in_torch.vmap),
        Way("`jax.vmap`, `nnx.vmap`", in_jax.vmap),
    ),
    Feature(
        "vmap over a batch norm that trains",
        "Layers take any leading axes.",
        Way("`torch.func.vmap`", in_torch.vmap_of_batch_norm, GATE_ALONE),
        Way("`nnx.vmap`", in_jax.vmap_of_batch_norm, GATE_ALONE),
    ),
    Feature(
        "stacked layers",
        "A loop over layers is as fast.",
        Way("`torch.func.stack_module_state`", in_torch.stacked),
        Way("`tensormoe_jax.stacked`, `nnx.scan`", in_jax.stacked, SCANNED),
    ),
    Feature("half precision", *everywhere('`dtype="bfloat16"`, `"float16"`', anywhere.half_precision)),
    Feature(
        "mixed precision",
        "NumPy would compute in half precision what it holds in it, or convert all.",
        Way("`torch.autocast`", in_torch.mixed_precision),
        Way("a copy of the parameters in bfloat16", in_jax.mixed_precision, COPIED),
    ),
    Feature(
        "float8",
        *(Way('`dtype="float8_e4m3fn"`', anywhere.eight_bits, REFUSED) for _ in FRAMEWORKS),
    ),
    Feature(
        "construction without values",
        "NumPy has no arrays without memory; `spec.parameter_shapes` are the shapes.",
        Way('`torch.device("meta")`, `reset_parameters()`', in_torch.shapes_alone),
        Way("`nnx.eval_shape`", in_jax.shapes_alone),
    ),
    Feature(
        "initial values in a compiled program",
        NO_COMPILER,
        "`torch.compile` does not compile construction; `reset_parameters()` fills what FSDP2 has sharded.",
        Way("`tensormoe_jax.initialize(spec, key=key)`", in_jax.compiled_initial_values),
    ),
    Feature("save and load", *everywhere("`tm.save`, `tm.load`", anywhere.files)),
    Feature(
        "arrays from and to other frameworks", *everywhere("`load_arrays`, `arrays`", anywhere.arrays_by_name)
    ),
    Feature(
        "the framework's own checkpoints",
        "Save by `tm.save`, or `np.savez(path, **layer.arrays())`.",
        Way("`state_dict`", in_torch.own_checkpoints),
        Way("orbax", in_jax.own_checkpoints, LIKE_ANY),
    ),
    Feature("copies and pickles", *everywhere("`copy.deepcopy`, `pickle`", anywhere.copies)),
    Feature(
        "replacing parts of a model",
        "NumPy has no models.",
        Way("`tensormoe_torch.replace`", in_torch.replacement),
        Way("`tensormoe_jax.replace`", in_jax.replacement),
    ),
    Feature(
        "experts beside frozen weights",
        "NumPy has no models.",
        Way("`tensormoe_torch.replace(frozen=True)`", in_torch.frozen_weights),
        Way("`tensormoe_jax.replace(frozen=True)`", in_jax.frozen_weights),
    ),
    Feature(
        "a share of every parameter",
        ONE_PROCESS,
        Way("`fully_shard`", in_torch.parameter_sharding),
        Way("`jax.jit` of sharded arrays", in_jax.parameter_sharding),
    ),
    Feature(
        "a share of the rank",
        ONE_PROCESS,
        Way("`RankParallel`", in_torch.rank_sharding),
        Way("`partition_specs`, `apply_shares`", in_jax.rank_sharding),
    ),
    Feature(
        "a share of the experts",
        ONE_PROCESS,
        Way("`ExpertParallel`", in_torch.expert_sharding),
        Way("`partition_specs`, `apply_shares`", in_jax.expert_sharding),
    ),
    Feature(
        "sharded checkpoints",
        ONE_PROCESS,
        Way("`torch.distributed.checkpoint`", in_torch.sharded_checkpoints, LIKE_ANY),
        Way("orbax", in_jax.own_checkpoints, LIKE_ANY),
    ),
    Feature(
        "styles for linear layers",
        ONE_PROCESS,
        Way("`ColwiseParallel`, `RowwiseParallel`", in_torch.column_sharding, REFUSED),
        "JAX has no styles: shardings say what lies where.",
    ),
    Feature(
        "`DTensor` parameters and an ordinary `x`",
        ONE_PROCESS,
        Way("`distribute_module`", in_torch.distributed_cores, REFUSED),
        "`jax.jit` mixes sharded and other arrays.",
    ),
)

FAILURES = (
    Failure(
        "matching a budget",
        EVERY_FRAMEWORK,
        ("Dense",),
        tm.TensorMoEError,
        "it has no bond to grow",
        "A weight tensor that is not factorized has no rank to grow.",
    ),
    Failure(
        "cores that layers of a block share",
        EVERY_FRAMEWORK,
        ("Dense",),
        tm.TensorMoEError,
        "it is one array, and has the shape",
        "A weight tensor that is not factorized can be shared by layers of equal sizes alone.",
    ),
    Failure(
        "higher ranks, the same weight",
        EVERY_FRAMEWORK,
        ("Dense",),
        tm.TensorMoEError,
        "bond: received 'r'; there is none to choose from",
        "A weight tensor that is not factorized has no rank to grow.",
    ),
    Failure(
        "lower ranks",
        EVERY_FRAMEWORK,
        ("Dense",),
        tm.TensorMoEError,
        "bond: received 'r'; there is none to choose from",
        "A weight tensor that is not factorized has no rank to lower.",
    ),
    Failure(
        "isometries",
        EVERY_FRAMEWORK,
        ("CP", "Dense", "Sum", "TensorNetwork", "TensorRing"),
        tm.TensorMoEError,
        "its cores make no tree",
        "Where bonds join more than two cores or make a loop, isometries cannot take the place of cores.",
    ),
    Failure(
        "TensorLy's decompositions",
        EVERY_FRAMEWORK,
        ("Dense", "Sum", "TensorNetwork"),
        tm.TensorMoEError,
        "TensorLy supports CP",
        "TensorLy has no decomposition of this form. `tm.fit` finds cores for any network.",
    ),
    Failure(
        "a share of the rank",
        ("torch", "jax"),
        ("Dense",),
        tm.TensorMoEError,
        "it has no bond to share out",
        "A weight tensor that is not factorized has no rank. Share out its experts.",
    ),
    Failure(
        "a share of the rank",
        ("torch", "jax"),
        ("Sum",),
        tm.TensorMoEError,
        "it is a sum",
        "A bond belongs to one term, and every share would add the other terms again. Share out its experts.",
    ),
    Failure(
        "float8",
        EVERY_FRAMEWORK,
        (),
        tm.TensorMoEError,
        "dtype: received 'float8_e4m3fn'",
        "Frameworks store float8 and hardly compute with it. Use bfloat16.",
    ),
    Failure(
        "vmap over a batch norm that trains",
        ("torch",),
        (),
        tm.TensorMoEError,
        "call layer.eval()",
        "Every entry would move the running statistics in its own way. Call `layer.eval()`, choose "
        '`norm="layer"`, or map the statistics as well, as `torch.func.stack_module_state` does.',
    ),
    Failure(
        "vmap over a batch norm that trains",
        ("jax",),
        (),
        ValueError,
        "axis spec None but output was batched",
        "The same, in the words of Flax: an output is batched where `None` was given. Call `layer.eval()`, "
        'choose `norm="layer"`, or map the layers as well, as those of `tensormoe_jax.stacked`.',
    ),
    Failure(
        "scripting",
        ("torch",),
        (),
        tm.TensorMoEError,
        "μMoE layers cannot be scripted",
        "`torch.jit.script` is deprecated, and compiles the text of functions. Use `torch.export`, "
        "`torch.compile` or `torch.jit.trace`.",
    ),
    Failure(
        "symbolic tracing",
        ("torch",),
        (),
        tm.TensorMoEError,
        "use torch.export.export",
        "A layer's program follows from shapes, which `torch.fx.symbolic_trace` does not know. Use "
        "`torch.export`, or let layers be leaves of the tracer.",
    ),
    Failure(
        "styles for linear layers",
        ("torch",),
        (),
        NotImplementedError,
        "only support nn.Linear and nn.Embedding",
        "PyTorch's styles take `nn.Linear` and `nn.Embedding` alone. Use `RankParallel` or `ExpertParallel` "
        "of `tensormoe_torch.parallel`.",
    ),
    Failure(
        "`DTensor` parameters and an ordinary `x`",
        ("torch",),
        (),
        RuntimeError,
        "mixed torch.Tensor and DTensor",
        "PyTorch does not mix them, in `nn.Linear` either. Pass `x` as a `DTensor`, or use `RankParallel`, "
        "which takes an ordinary one.",
    ),
)


def combinations() -> Iterator[tuple[Feature, str, str]]:
    """What is tried: every feature, framework and family."""
    for feature in FEATURES:
        for framework in FRAMEWORKS:
            way = feature.way(framework)
            if isinstance(way, Way):
                for family in [*FAMILIES][: 1 if way.once else None]:
                    yield feature, framework, family


def failure_of(feature: Feature, framework: str, family: str) -> Failure | None:
    """What is expected to fail, if anything."""
    for failure in FAILURES:
        about = failure.feature == feature.name and framework in failure.frameworks
        if about and (not failure.families or family in failure.families):
            return failure
    return None
