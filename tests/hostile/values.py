"""Arguments that fit, by the names of parameters, and instances of public classes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from support.frameworks import BACKENDS, optional

import tensormoe as tm
from tensormoe.arrays.registry import get_module
from tensormoe.testing import Inputs

if TYPE_CHECKING:
    from hostile.subjects import Subject

torch = optional("torch")
jax = optional("jax")

_RICH = tm.Gate("softmax", "batch", tm.AdaptiveClustering(statistics="batch"), temperature=0.5, noise=0.1)
LAYERS = (
    tm.MuMoESpec(3, 2, 4, tm.CP(2)),
    tm.MuMoESpec(3, 2, (2, 3), tm.TensorTrain((2, 2, 2)), tm.Gate(tm.Activation("top_k", k=1)), bias=False),
    tm.MuMoESpec(3, 2, 4, tm.TensorNetwork("n r, i r, o r", r=2), _RICH, memory_limit=10**6),
)
BLOCKS = (
    tm.MuMoEBlockSpec(3, 5, 2, 4, tm.Tucker((2, 2, 2)), input_norm=True),
    tm.MuMoEBlockSpec(3, 5, 2, 4, tm.TensorRing((1, 2, 2)), _RICH, nonlinearity="relu", gated=True),
)


@dataclass(frozen=True)
class Setting:
    """What the arguments of one call have in common.

    Args:
        framework: whose arrays they are.
        layer, block: the specifications that they fit.
        of_block: whether it is the block, where either will do.
    """

    framework: str
    layer: tm.MuMoESpec
    block: tm.MuMoEBlockSpec
    of_block: bool

    @property
    def spec(self) -> tm.Spec:
        return self.block if self.of_block else self.layer

    def array(self, values: Any) -> Any:
        """An array of the framework."""
        return tm.get_backend(self.framework).from_float64(np.asarray(values, "float64"), "float32")

    def arrays(self, *shapes: tuple[int, ...]) -> list[Any]:
        """Arrays of positive numbers."""
        return [self.array(np.linspace(0.1, 1, int(np.prod(shape))).reshape(shape)) for shape in shapes]

    def by_name(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.array(value) for name, value in values.items()}

    def module(self) -> Any:
        """A new layer: a call may change it, and what it changed is no other call's."""
        return build_module(self.framework, self.spec)


@cache
def _initialize(spec: tm.Spec) -> tuple[dict[str, Any], dict[str, Any]]:
    return tm.initialize(spec)


@cache
def _build_once(framework: str, spec: tm.Spec) -> Any:
    return tm.build(spec, framework, seed=0)


def build_module(framework: str, spec: tm.Spec) -> Any:
    return deepcopy(_build_once(framework, spec))


def _generator(setting: Setting) -> Any:
    if setting.framework == "numpy":
        return np.random.default_rng(0)
    return torch.Generator() if setting.framework == "torch" else jax.random.key(0)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tensormoe-")


def _path(setting: Setting) -> Path:
    """A file with a layer."""
    path = Path(_folder().name) / "layer"
    tm.save(setting.module(), path)
    return path


def _published(setting: Setting) -> dict[str, Any]:
    """A state dict as the published code lays it out."""
    names = ("MuMoE.factors.0", "MuMoE.factors.1", "MuMoE.factors.2", "projs.0")
    return dict(zip(names, setting.arrays((4, 2), (4, 2), (2, 2), (3, 4)), strict=True))


def _inputs(setting: Setting) -> Inputs:
    spec = setting.layer
    shapes = spec.network.shapes.values()
    return Inputs(
        np.ones((2, 3)),
        [np.ones((2, n)) for n in spec.experts],
        [np.ones(s) for s in shapes],
        np.ones((2, 2)),
    )


def _model(setting: Setting) -> Any:
    """A model with one linear layer, whose name is "0"."""
    if setting.framework == "torch":
        return torch.nn.Sequential(torch.nn.Linear(3, 2))
    nnx = optional("flax.nnx")
    return nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))


def _layers(setting: Setting) -> Any:
    """A model with two layers."""
    spec = tm.MuMoESpec(3, 3, 3, tm.TensorNetwork("n i o"), bias=False)
    layers = [tm.build(spec, setting.framework, seed=0) for _ in range(2)]
    kind = torch.nn if setting.framework == "torch" else optional("flax.nnx")
    return kind.Sequential(*layers)


def _factors(setting: Setting) -> Any:
    return tm.to_tensorly(tm.build(tm.MuMoESpec(3, 2, 4, tm.CP(2)), "numpy", seed=0))


# By the name of a parameter, or by its callable's name and its own. A fixed name means the same everywhere.
_VALUES: dict[str, Callable[[Setting], Any]] = {
    "in_features": lambda s: 3,
    "hidden_features": lambda s: 5,
    "out_features": lambda s: 2,
    "input_size": lambda s: 4,
    "output_size": lambda s: 2,
    "experts": lambda s: s.layer.experts,
    "factorization": lambda s: s.layer.factorization,
    "gate": lambda s: s.layer.gate,
    "routers": lambda s: None,
    "bias": lambda s: True,
    "certificate": lambda s: False,
    "optimize": lambda s: "auto",
    "memory_limit": lambda s: 10**6,
    "initialization": lambda s: "linear",
    "gate_features": lambda s: None,
    "router_input": lambda s: None,
    "output_bias": lambda s: True,
    "nonlinearity": lambda s: "gelu",
    "gated": lambda s: True,
    "input_norm": lambda s: True,
    "seed": lambda s: 0,
    "dtype": lambda s: "float32",
    "device": lambda s: None if s.framework == "jax" else "cpu",
    "recompute": lambda s: False,
    "rngs": lambda s: None,
    "key": lambda s: None,
    "spec": lambda s: s.spec,
    "layer": lambda s: "first" if s.of_block else "cores",
    "subject": lambda s: s.spec,
    "program": lambda s: None,
    "backend": lambda s: s.framework,
    "backends": lambda s: (s.framework,),
    "methods": lambda s: ("proof",),
    "batch_size": lambda s: 2,
    "active": lambda s: None,
    "MuMoESpec.plan.active": lambda s: s.spec.experts,
    "x": lambda s: s.arrays((2, 3))[0],
    "h": lambda s: s.arrays((6, 3))[0],
    "logits": lambda s: s.arrays((2, 4)),
    "array": lambda s: s.arrays((2, 3))[0],
    "coefficients": lambda s: s.arrays(*((2, n) for n in s.spec.experts)),
    "cotangent": lambda s: np.ones((2, 2)),
    "previous": lambda s: s.arrays(*((2, n) for n in s.spec.experts)),
    "weight": lambda s: s.arrays((4, 4, 2))[0],
    "parameters": lambda s: s.by_name(_initialize(s.spec)[0]),
    "state": lambda s: s.by_name(_initialize(s.spec)[1]),
    "arrays": lambda s: s.by_name(_initialize(s.spec)[0] | _initialize(s.spec)[1]),
    "cores": lambda s: tm.cores_of(s.layer, s.by_name(_initialize(s.layer)[0])),
    "weights": lambda s: {
        name: value for name, value in s.by_name(_initialize(s.spec)[0]).items() if name in s.spec.gate_shapes
    },
    "state_dict": lambda s: dict(s.module().state_dict()),
    "strict": lambda s: True,
    "assign": lambda s: False,
    "statistics": lambda s: s.by_name(_initialize(s.spec)[1]),
    "tensors": lambda s: {"input": s.arrays((4, 2))[0]},
    "factors": _factors,
    "inputs": _inputs,
    "training": lambda s: True,
    "generator": _generator,
    "all_reduce": lambda s: None,
    "return_coefficients": lambda s: True,
    "use_running_average": lambda s: True,
    "axis": lambda s: -1,
    "k": lambda s: 2,
    "eps": lambda s: 0.5,
    "alpha": lambda s: 1.5,
    "descending": lambda s: True,
    "levels": lambda s: s.layer.levels,
    "path": _path,
    "copy": lambda s: True,
    "notation": lambda s: "n r, i r, o r",
    "fixed": lambda s: {},
    "with_fixed.arrays": lambda s: {},
    "bonds": lambda s: s.layer.factorization.bonds(s.layer.levels),
    "bond": lambda s: None,
    "multiple_of": lambda s: 1,
    "rank": lambda s: 2,
    "ranks": lambda s: (2, 2, 2),
    "i": lambda s: (2, 2),
    "o": lambda s: (2, 2),
    "shared": lambda s: False,
    "MuMoEBlockSpec.shared": lambda s: (),
    "MuMoEBlock.shared": lambda s: (),
    "parts": lambda s: {},
    "pad": lambda s: False,
    "activation": lambda s: "softmax",
    "norm": lambda s: "batch",
    "router": lambda s: tm.LinearRouter(),
    "temperature": lambda s: 1.0,
    "noise": lambda s: 0.1,
    "preset": lambda s: "language",
    "dispersion": lambda s: "mad",
    "assignment": lambda s: "soft",
    "evaluation": lambda s: "running",
    "clamp": lambda s: 2.0,
    "normalization": lambda s: "feature",
    "shrinkage": lambda s: 1.0,
    "momentum": lambda s: 0.5,
    "clusters": lambda s: 4,
    "prefix": lambda s: "cores",
    "name": lambda s: "numpy",
    "n": lambda s: 2,
    "r": lambda s: 2,
    "bench.training": lambda s: False,
    "threads": lambda s: None,
    "rounds": lambda s: 1,
    "seconds": lambda s: 0.01,
    "default": lambda s: 60,
    "max_rank": lambda s: 2,
    "max_cores": lambda s: 3,
    "max_bonds": lambda s: 2,
    "max_levels": lambda s: 2,
    "min_levels": lambda s: 0,
    "purpose": lambda s: "this is a test",
    "max_size": lambda s: 3,
    "deep": lambda s: 1_000,
    "side": lambda s: "layer",
    "other": lambda s: "MLP",
    "mode": lambda s: "forward",
    "text": lambda s: s.spec.to_json(),
    "argument": lambda s: "rank",
    "received": lambda s: 0,
    "remedy": lambda s: "pass a positive integer",
    "reason": lambda s: "why",
    "step": lambda s: 1,
    "change": lambda s: lambda array: array,
    "sample": lambda s: {
        mode: np.arange(size)
        for mode, size in zip(s.layer.network.modes, (*s.layer.experts, 3, 2), strict=True)
    },
    "save.layer": lambda s: s.module(),
    "from_published.state_dict": _published,
    "from_published.prefix": lambda s: "",
    "stacked.seed": lambda s: 0,
    "Activation.name": lambda s: "softmax",
    "AdaptiveClustering.statistics": lambda s: "running",
    "LinearRouter.bias": lambda s: True,
    "MuMoESpec.matched.parameters": lambda s: 1000,
    "MuMoEBlockSpec.matched.parameters": lambda s: 1000,
    "adaptive_clustering_weights.previous": lambda s: s.arrays((6, 4))[0],
    "adaptive_clustering_weights.clusters": lambda s: None,
    "from_tensorly.spec": lambda s: tm.MuMoESpec(3, 2, 4, tm.CP(2)),
    "to_tensorly.layer": lambda s: tm.MuMoESpec(3, 2, 4, tm.CP(2)),
    "to_tensorly.cores": lambda s: s.arrays((4, 2), (4, 2), (2, 2)),
    "soft_moe.coefficients": lambda s: s.arrays((2, 4)),
    "materialize.spec": lambda s: s.layer,
    "contract.spec": lambda s: s.layer,
    "contract.coefficients": lambda s: s.arrays(*((2, n) for n in s.layer.experts)),
    "merge.spec": lambda s: s.layer,
    "merge.coefficients": lambda s: s.arrays(*((2, n) for n in s.layer.experts)),
    "assert_equivalent.spec": lambda s: s.layer,
    "inputs_for.spec": lambda s: s.layer,
    "inputs_for.batch_size": lambda s: None,
    "specs.factorization": lambda s: None,
    "specs.gate": lambda s: None,
    "TensorGroup.prefix": lambda s: "cores",
    "macs": lambda s: None,
    "model": _model,
    "where": lambda s: "0",
    "match": lambda s: None,
    "init": lambda s: "fresh",
    "frozen": lambda s: False,
    "dry_run": lambda s: True,
    "build": lambda s: None,
    "weight_decay": lambda s: 0.1,
    "process_group": lambda s: None,
    "synchronize.evaluation": lambda s: False,
    "partition_specs.rank": lambda s: "model",
    "partition_specs.experts": lambda s: None,
    "share.model": _layers,
    "share.cores": lambda s: "*.cores.*",
    "routed.model": lambda s: build_module(s.framework, LAYERS[-1]),
    "target": lambda s: s.arrays((4, 3, 2))[0],
    "outputs": lambda s: s.arrays((6, 2))[0],
    "iterations": lambda s: 20,
    "progress": lambda s: False,
    "threshold": lambda s: 0.5,
    "labels": lambda s: [0, 1],
    "predictions": lambda s: [0, 1],
    "groups": lambda s: [0, 1],
    "positive": lambda s: 0,
    "equality_of_opportunity.labels": lambda s: [0, 0],
    "summary.layer": lambda s: s.spec,
    "load_balance_loss.k": lambda s: 1,
    "features": lambda s: s.arrays((2, 3))[0],
    "strength": lambda s: 1.0,
    "steps": lambda s: 3,
    "steering": lambda s: (),
    "rate": lambda s: 0.1,
    "output": lambda s: 1,
    "constant": lambda s: 0.5,
    "blind_threshold.logits": lambda s: s.arrays((2, 4))[0],
    "classes": lambda s: 2,
    "agreement.first": lambda s: s.arrays((2, 4))[0],
    "agreement.second": lambda s: s.arrays((2, 3))[0],
    "conditional_usage.coefficients": lambda s: s.arrays((2, 4), (2, 3)),
    "level_information.coefficients": lambda s: s.arrays((2, 4), (2, 3)),
    "expert": lambda s: 0,
    "ablate.layer": lambda s: s.module(),
    "ablate.experts": lambda s: 0,
    "ablate.level": lambda s: 0,
    "ablate.layers": lambda s: None,
    "ablate.mode": lambda s: "zero",
    "accuracy_by_ablation.layer": lambda s: s.module(),
    "accuracy_by_ablation.experts": lambda s: 0,
    "accuracy_by_ablation.level": lambda s: 0,
    "accuracy_by_ablation.layers": lambda s: None,
    "accuracy_by_ablation.mode": lambda s: "renormalize",
    "changes": lambda s: s.arrays((2, 4))[0],
    "gram.layer": lambda s: s.layer,
    "cosines.layer": lambda s: s.layer,
    "norms.layer": lambda s: s.layer,
    "spectrum.layer": lambda s: s.layer,
    "means": lambda s: s.arrays((2, 4))[0],
    "title": lambda s: "experts",
    "draw.what": lambda s: s.spec,
    "body": lambda s: "<p>none</p>",
    "draw_usage.load": lambda s: s.arrays((4,))[0],
    "draw_usage.usage": lambda s: s.arrays((4,))[0],
    "draw_polysemanticity.experts": lambda s: [4, 8],
    "draw_polysemanticity.values": lambda s: s.arrays((2, 3))[0],
    "confidence": lambda s: 0.95,
    "draw_ablations.changes": lambda s: s.array([[0, -0.5], [0.25, 0]]),
    "draw_hierarchy.level": lambda s: 0,
    "shares": lambda s: s.array([[0.25, 0.75], [0.5, 0.5]]),
    "spectra": lambda s: s.array([[2, 1], [3, 0]]),
    "draw_spectra.experts": lambda s: [0, 1],
    "stages.spec": lambda s: replace(s, of_block=False).spec,
    "draw_similarity.cosines": lambda s: s.array([[1, 0.5], [0.5, 1]]),
    "images": lambda s: s.arrays((2, 3, 3))[0],
    "draw_images.experts": lambda s: [0, 1],
    "shade_text.experts": lambda s: [0, 1],
    "tokens": lambda s: ["a", " b"],
    "context": lambda s: 2,
    "draw_model.recording": lambda s: _recorded(),
    "ablate_model.model": lambda s: build_module(*_modelled(s)),
    "ablate_model.data": lambda s: [replace(s, framework=_modelled(s)[0]).arrays((2, 3))[0]],
    "ablate_model.labels": lambda s: lambda batch: [0, 1],
    "ablate_model.layers": lambda s: None,
    "ablate_model.level": lambda s: None,
    "ablate_model.mode": lambda s: "zero",
    "Split.respecify.spec": lambda s: LAYERS[0],
    "ablate_model.call": lambda s: None,
    "measure": lambda s: None,
    "record.model": lambda s: build_module(*_modelled(s)),
    "record.data": lambda s: [replace(s, framework=_modelled(s)[0]).arrays((2, 3))[0]],
    "record.labels": lambda s: lambda batch: [0, 1],
    "record.mask": lambda s: None,
    "record.columns": lambda s: {},
    "call": lambda s: lambda model, batch: model(batch),
    "store": lambda s: None,
    "recording.model": lambda s: None,
    "batch.labels": lambda s: [0, 1],
    "batch.mask": lambda s: [1, 0],
    "open.path": lambda s: _recorded().stores[0].path,
    "TTMatrix.ranks": lambda s: (2,),
    "Sum.terms": lambda s: (tm.CP(2), tm.Dense()),
    "fit.spec": lambda s: tm.MuMoESpec(3, 2, 4, tm.CP(2)),
    "fit.bias": lambda s: s.arrays((2,))[0],
    "fit.inputs": lambda s: s.arrays((6, 3))[0],
    "upcycle.weight": lambda s: s.arrays(*_sides(s.spec)) if s.of_block else s.arrays((3, 2))[0],
    "upcycle.bias": lambda s: s.arrays(*_sides(s.spec, 1)) if s.of_block else None,
    "upcycle.inputs": lambda s: None,
    "grow.layer": lambda s: build_module(s.framework, LAYERS[0]),
    "grow.r": lambda s: 3,
    "truncate.layer": lambda s: build_module(s.framework, LAYERS[0]),
    "truncate.iterations": lambda s: 2,
    "truncate.r": lambda s: 1,
    "canonicalize.layer": lambda s: build_module(s.framework, LAYERS[1]),
    "center": lambda s: None,
    "simplify.layer": lambda s: s.module(),
    "Merge.experts": lambda s: (0, 1),
    "edit.layer": lambda s: s.module(),
    "edits": lambda s: _edits(s),
    "undo.count": lambda s: 1,
    "before": lambda s: s.module(),
    "after": lambda s: s.module(),
    "certify.experts": lambda s: {},
    "Budget.parameters": lambda s: 1000,
    "Budget.seconds": lambda s: None,
    "match.spec": lambda s: s.layer,
    "cost.spec": lambda s: s.layer,
    "Trial.spec": lambda s: s.layer,
    "Trial.state": lambda s: "complete",
    "predict.macs": lambda s: 1000.0,
    "Space.layer": lambda s: _space().layer,
    "Space.bonds": lambda s: True,
    "Space.fixed": lambda s: (),
    "Evaluation.__call__.spec": lambda s: s.layer,
    "prepare.spec": lambda s: s.layer,
    "budget": lambda s: tm.explore.Budget(parameters=1000),
    "task": lambda s: _task(),
    "costs": lambda s: ("parameters", "macs"),
    "number": lambda s: 3,
    "start": lambda s: None,
    "trial": lambda s: _trial(s),
    "family": lambda s: tm.CP(2),
    "widths": lambda s: (2, 3, 4),
    "seeds": lambda s: 1,
    "like": lambda s: LAYERS[0],
    "floor": lambda s: 0.0,
    "jobs": lambda s: 1,
    "workers": lambda s: 1,
    "candidates": lambda s: (tm.CP(1),),
    "budgets": lambda s: (None,),
    "sweep.path": lambda s: _new_path(),
    "scaling.path": lambda s: _new_path(),
    "Study.save.path": lambda s: _new_path(),
    "Study.report.path": lambda s: _new_path(),
    "Study.load.path": lambda s: _written_study(s),
    "objective": lambda s: "loss",
    "objectives": lambda s: ("loss", "parameters"),
    "Study.draw.x": lambda s: "parameters",
    "Study.draw.y": lambda s: "loss",
    "trials": lambda s: (_trial(s),),
    "settings": lambda s: {"task": "a test"},
    "search.trials": lambda s: 3,
    "space": lambda s: _space(),
    "method": lambda s: "exhaustive",
    "search.weights": lambda s: {"loss": 1.0, "parameters": 0.5},
    "storage": lambda s: _new_path(),
    "network": lambda s: s.layer.network,
    "sizes": lambda s: True,
    "measure.spec": lambda s: s.layer,
    "names": lambda s: ("parameters", "macs@1"),
    "function": lambda s: _train,
    "train_with.name": lambda s: "a test",
}


def _train(spec: tm.MuMoESpec, seed: int) -> float:
    """A loss that any layer has."""
    return 1 / spec.macs + seed


def _task() -> Any:
    return tm.explore.train_with(_train)


@cache
def _space() -> tm.explore.Space:
    """Eight points."""
    layer = tm.MuMoESpec(3, 2, 4, tm.CP(2), bias=False)
    return tm.explore.Space(layer, max_cores=3, ranks=2, hyperedges=0, latent=0, carriers=False)


def _trial(setting: Setting) -> tm.explore.Trial:
    values = {"loss": 0.5, "parameters": float(setting.layer.num_parameters)}
    return tm.explore.Trial(setting.layer, values=values, proved=True)


def _study(setting: Setting) -> tm.explore.Study:
    return tm.explore.Study((_trial(setting),), ("loss", "parameters"))


_numbers = count()


def _new_path() -> Path:
    """Where nothing is."""
    return Path(_folder().name) / f"new-{next(_numbers)}"


def _written_study(setting: Setting) -> Path:
    path = _new_path()
    _study(setting).save(path)
    return path


def _edits(setting: Setting) -> list[tm.editing.Edit]:
    """Edits that fit, one of them beside the factors."""
    layer = "first" if setting.of_block else "cores"
    expert = (0,) * setting.spec.levels
    matrix = np.ones((3, 5 if setting.of_block else 2))
    return [tm.editing.Scale(expert, 2.0, layer), tm.editing.Add(expert, matrix, layer)]


def _sides(spec: tm.Spec, last: int = 2) -> list[tuple[int, ...]]:
    """The last sizes of each layer's matrix."""
    return [(stage.in_features, stage.out_features)[-last:] for stage in spec.layers.values()]


def _modelled(setting: Setting) -> tuple[str, tm.Spec]:
    """A framework that has models, and a layer of it."""
    names = [name for name in BACKENDS if name != "numpy"]
    return setting.framework if setting.framework in names else names[0], LAYERS[0]


_RESULTS: dict[type, Callable[[Setting], Any]] = {
    tm.Core: lambda s: s.layer.network.cores[0],
    tm.Network: lambda s: s.layer.network,
    tm.Plan: lambda s: s.layer.plan(2),
    tm.BlockPlan: lambda s: s.block.plan(2),
    tm.Proof: lambda s: _proof(s.layer),
    tm.BlockProof: lambda s: _proof(s.block),
    tm.VerificationReport: lambda s: _report(s.layer),
    tm.BenchReport: lambda s: _timing(s.layer),
    tm.Fit: lambda s: _fit(),
    tm.analysis.Recording: lambda s: _recorded(),
    tm.explore.Budget: lambda s: tm.explore.Budget(parameters=1000),
    tm.explore.Evaluation: lambda s: tm.explore.Evaluation(_task(), ("parameters", "macs")),
    tm.explore.ScalingLaw: lambda s: _law(),
    tm.explore.Space: lambda s: _space(),
    tm.explore.Study: _study,
    tm.explore.Trial: _trial,
    tm.analysis.Recorder: lambda s: tm.analysis.Recorder({"numpy": s.spec.experts}, 0.5, None, lambda: None),
    tm.fitting.Comparison: lambda s: tm.fitting.Comparison((_fit(),)),
    tm.analysis.Page: lambda s: tm.analysis.Page("experts", "<p>none</p>"),
    tm.editing.Ablate: lambda s: tm.editing.Ablate(0),
    tm.editing.Scale: lambda s: tm.editing.Scale(0, 2.0),
    tm.editing.Merge: lambda s: tm.editing.Merge((0, 1)),
    tm.editing.Replace: lambda s: tm.editing.Replace(0, s.arrays((3, 2))[0]),
    tm.editing.Add: lambda s: tm.editing.Add(0, s.arrays((3, 2))[0]),
    tm.editing.AddBias: lambda s: tm.editing.AddBias(0, 1, 0.5),
    tm.editing.RewriteBias: lambda s: tm.editing.RewriteBias(s.arrays((4,))[0], 1, 0.5),
    tm.editing.Steer: lambda s: tm.editing.Steer(0, set=0.5),
    tm.editing.Split: lambda s: tm.editing.Split(0),
    tm.editing.Edited: lambda s: tm.editing.edit(s.module(), _edits(s)),
    Inputs: _inputs,
    tm.SavedLayer: lambda s: tm.SavedLayer(s.spec, *deepcopy(_initialize(s.spec))),
    tm.MuMoESpec: lambda s: s.layer,
    tm.MuMoEBlockSpec: lambda s: s.block,
    tm.LowRankRouter: lambda s: tm.LowRankRouter(2),
    tm.CP: lambda s: tm.CP(2),
    tm.Sum: lambda s: tm.CP(2) + tm.Dense(),
    tm.Tucker: lambda s: tm.Tucker((2, 2, 2)),
    tm.TensorTrain: lambda s: tm.TensorTrain((2, 2)),
    tm.TensorRing: lambda s: tm.TensorRing((2, 2, 2)),
    tm.Kronecker: lambda s: tm.Kronecker((1, 3), (1, 2)),
    tm.Monarch: lambda s: tm.Monarch((1, 3), (1, 2)),
    tm.BTT: lambda s: tm.BTT((1, 3), (1, 2), 2),
    tm.TTMatrix: lambda s: tm.TTMatrix((1, 3), (1, 2), (2,)),
    tm.Butterfly: lambda s: tm.Butterfly((1, 3), (1, 2)),
    tm.TensorNetwork: lambda s: tm.TensorNetwork("n r, i r, o r", r=2),
}
if "torch" in BACKENDS:
    _torch = get_module("torch")
    _RESULTS |= {
        _torch.Fidelity: lambda s: _torch.Fidelity("mlp", 1.0, 0.1),
        _torch.Distillation: lambda s: _torch.Distillation((_torch.Fidelity("mlp", 1.0, 0.1),), (1.0,)),
    }


@cache
def _proof(spec: tm.Spec) -> Any:
    return tm.prove(spec)


@cache
def _report(spec: tm.Spec) -> Any:
    return tm.verify(spec, "numpy", methods="proof")


@cache
def _recorded() -> Any:
    with tm.analysis.recording(store=Path(_folder().name) / "tokens") as recorded:
        recorded.add("numpy", [np.ones((2, 1))])
    return recorded


@cache
def _fit() -> Any:
    return tm.fit(np.ones((3, 2)), tm.MuMoESpec(3, 2, 4, tm.CP(2)))


@cache
def _law() -> tm.explore.ScalingLaw:
    return tm.explore.scaling(tm.CP(2), (2, 3, 4), _task(), like=LAYERS[0])


@cache
def _timing(spec: tm.Spec) -> Any:
    return tm.bench(spec, "numpy", 2, rounds=1, seconds=0.01)


def instance_of(kind: type, setting: Setting) -> Any:
    """An instance of a public class."""
    if kind in _RESULTS:
        return _RESULTS[kind](setting)
    package = get_module(setting.framework)
    if hasattr(kind, "from_spec"):
        block = kind is package.MuMoEBlock
        return build_module(setting.framework, setting.block if block else setting.layer)
    parts = {"GateModule": "gate", "TensorGroup": "gate_weights"}
    if kind.__name__ in parts:
        return getattr(setting.module(), parts[kind.__name__])
    if kind.__name__ == "RouterModule":
        return setting.module().gate.router
    return kind("softmax") if kind is tm.Activation else kind()


def base_value(subject: Subject, name: str, setting: Setting) -> Any:
    """An argument that fits."""
    short, last = subject.short, subject.short.rsplit(".", 1)[-1]
    if short.startswith("MuMoE"):
        setting = replace(setting, of_block=short.startswith("MuMoEBlock"))
    for key in (f"{short}.{name}", f"{last}.{name}"):
        if key in _VALUES:
            return _VALUES[key](setting)
    kind = subject.function
    if name not in _VALUES and isinstance(kind, type) and is_dataclass(kind) and kind in _RESULTS:
        return getattr(_RESULTS[kind](setting), name)
    if name == "bonds" and subject.owner is not None:
        return instance_of(subject.owner, setting).bonds(1)
    if name == "data":
        return _written(getattr(subject.function, "__self__", tm.CP), setting)
    return _VALUES[name](setting)


# The names that stand behind a callable's **keywords, where no type lists them.
KEYWORDS: dict[str, tuple[str, ...]] = {
    "TensorNetwork": ("r",),
    "grow": ("r",),
    "truncate": ("r",),
    "replace": ("bias",),
    "load": ("dtype", "device", "recompute"),
}


def _written(kind: type, setting: Setting) -> Any:
    known = {tm.Factorization: tm.CP, tm.Router: tm.AdaptiveClustering, tm.Spec: tm.MuMoESpec}
    known[tm.editing.Edit] = tm.editing.Ablate
    return instance_of(known.get(kind, kind), setting).to_dict()
