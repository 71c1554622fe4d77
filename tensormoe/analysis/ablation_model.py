"""Counterfactual ablation in a whole model: what it would say without an expert of any of its layers."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from operator import length_hint
from typing import Any

import numpy as np

from ..errors import TensorMoEError, as_tuple, one_of, true_or_false
from ..fitting.target import read_values
from ..layers.observation import Observer
from ..layers.spec import Spec
from ..memory import check_memory, host_memory
from ..typing import Array, NumPyArray
from .ablation_run import compute_outputs, find_used
from .ablation_scores import Accuracy, Mean, Score
from .ablation_subject import ZERO, Ablations, Subject, read_ablations, read_call
from .batches import Call, Pick, check_call, check_data, check_pick, find_observer
from .progress import show_progress

# Elements of a layer's outputs that are computed at once, of several ablations.
_LARGEST = 2**24


def ablate_model(
    model: Any,
    data: Iterable[Any],
    *,
    labels: Pick | None = None,
    measure: Callable[[Any, Any], Array] | None = None,
    layers: str | Sequence[str] | None = None,
    level: int | Sequence[int] | None = None,
    mode: str = ZERO,
    call: Callable[[Any, Any], Any] | None = None,
    progress: bool = True,
) -> dict[str, NumPyArray]:
    """How much a model's accuracy on each class changes without an expert, for all experts of all its layers.

    Use it to see which experts a model depends on; `polysemanticity` sums each layer up. The expert is taken
    from its layer as by `ablate`, and everything behind that layer runs again on what is left. So the answer
    is exact whatever stands there, and costs an evaluation of the model for each expert that an input of the
    batch uses: N evaluations for N experts with softmax, fewer where coefficients are sparse. Where the
    layer's output is the model's, nothing runs again. Memory does not grow with the data.

    Args:
        model: a `torch.nn.Module` or a `flax.nnx.Module`. It runs in evaluation mode, without gradients and
            not compiled, and stays as it is.
        data: batches, as for `record`.
        labels: where the class of each output is in a batch, as for `record`; −100 leaves one out. The
            model's outputs are the logits (…, C), or have them as `logits`.
        measure: in place of the accuracy, a function of the model's output and the batch that returns a
            number for each input, (T,), or a row of them, (T, K), such as its loss: of it, the mean counts.
        layers: the names of the layers that lose experts, one or several; all by default.
        level, mode: as for `ablate`. Blocks lose an expert in all of their layers.
        call: a function of model and batch that runs one, instead.
        progress: whether to show a progress bar, on standard error.

    Returns:
        For each layer by its name (A, C) in NumPy's float64: what is without the expert less what is with it;
        (A, K) of a measure, K = 1 for one number. 0 for a class without an input.

    Raises:
        TensorMoEError: as `record` and `ablate`; neither labels nor a measure, labels that do not fit the
            model's outputs, or values that are not finite.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, counterfactual expert intervention ("zero"), there of one layer.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE
        >>> model = torch.nn.Sequential(MuMoE(8, 8, 4, tm.CP(5)), torch.nn.GELU(), MuMoE(8, 3, 6, tm.CP(5)))
        >>> batches = [(torch.ones(6, 8), torch.tensor([0, 0, 0, 1, 1, 2])) for _ in range(5)]
        >>> changes = tm.analysis.ablate_model(model, batches, labels=1, progress=False)
        >>> {name: each.shape for name, each in changes.items()}
        {'0': (4, 3), '2': (6, 3)}
    """
    observer = find_observer(model)
    specs = observer.find(model)
    if not specs:
        raise TensorMoEError("model", type(model), "it has no μMoE layer: put some in by replace")
    names = tuple(specs) if layers is None else as_tuple(layers)
    for name in names:
        one_of("layers", name, tuple(specs))
    ablations = {str(name): _read_all(specs[str(name)], level, mode) for name in names}
    score = _choose_score(labels, measure)
    check_call(call)
    check_data(data)
    shown = true_or_false("progress", progress)
    run = _Run(observer, model, call or Call(labels), score, frozenset(ablations))
    tasks: Iterable[_Task] = _Tasks(run, ablations, data)
    with observer.evaluate(model):
        for task in show_progress("ablating", tasks) if shown else tasks:
            task()
    return run.finish(ablations)


def _read_all(spec: Spec, level: int | Sequence[int] | None, mode: str) -> Ablations:
    every = read_ablations(spec, None, level, None, mode)
    assert isinstance(every, Ablations)  # no set is asked for
    return every


def _choose_score(labels: Pick | None, measure: Callable[[Any, Any], Array] | None) -> Score:
    check_pick("labels", labels)
    if measure is None and labels is None:
        raise TensorMoEError("labels", labels, "pass labels= or measure=")
    if measure is None:
        return Accuracy(labels)
    if not callable(measure):
        raise TensorMoEError("measure", measure, "pass a function of the model's output and a batch")
    return Mean(measure)


_Task = Callable[[], None]


class _Run:
    """The sums of a model's scores, without each expert less with it."""

    def __init__(
        self,
        observer: Observer,
        model: Any,
        call: Callable[[Any, Any], Any],
        score: Score,
        names: Set[str],
    ) -> None:
        self.observer, self.model, self.call, self.score, self.names = observer, model, call, score, names
        self.sums: dict[str, NumPyArray] = {}
        self.counts = np.zeros(1)
        self.ran = False

    def start(self, batch: Any) -> "_Batch":
        """Run the model as it is."""
        calls: dict[str, list[Subject]] = {}
        outputs: dict[str, Array] = {}

        def watch(name: str, layer: Any, x: Array, coefficients: Sequence[Array], y: Array) -> Array:
            self.ran = True
            if name in self.names:
                calls.setdefault(name, []).append(read_call(layer, x, coefficients, y))
                outputs[name] = y
            return y

        placed = self.observer.place(self.model, batch)
        with self.observer.intervene(self.model, watch):
            output = self.call(self.model, placed)
        sums, counts = self.score(output, placed)
        self.counts = self.counts + counts
        last = {name for name, y in outputs.items() if y is output and len(calls[name]) == 1}
        return _Batch(self, placed, calls, last, sums)

    def add(self, name: str, total: int, number: int, change: NumPyArray) -> None:
        """Count what one ablation of a layer changes."""
        if name not in self.sums:
            needed = 16 * total * len(change)
            check_memory("model", (total, len(change)), f"the changes of {name}", needed, host_memory())
            self.sums[name] = np.zeros((total, len(change)))
        self.sums[name][number] += change

    def finish(self, ablations: dict[str, Ablations]) -> dict[str, NumPyArray]:
        """The changes of the means."""
        if not self.ran:
            raise TensorMoEError("data", self.counts, "no μMoE layer ran: pass batches of at least one input")
        counts = np.maximum(self.counts, 1)
        none = {name: np.zeros((len(each), len(counts))) for name, each in ablations.items()}
        return {name: self.sums.get(name, zeros) / counts for name, zeros in none.items()}


@dataclass(frozen=True)
class _Batch:
    """A batch on which the model ran.

    Args:
        run: all batches.
        data: the batch.
        calls: what each layer's calls computed.
        last: the layers whose output is the model's.
        sums: of its scores.
    """

    run: _Run
    data: Any
    calls: dict[str, list[Subject]]
    last: set[str]
    sums: NumPyArray

    def ablate(self, name: str, ablations: Ablations) -> None:
        """Score the model without each expert of a layer."""
        calls = self.calls.get(name, [])
        used = np.any([find_used(each, ablations) for each in calls], axis=0) if calls else np.zeros(0, bool)
        numbers = np.flatnonzero(used)
        at_once = max(1, _LARGEST // max(1, calls[0].y.size)) if calls else 1
        for start in range(0, len(numbers), at_once):
            chosen = numbers[start : start + at_once]
            outputs = compute_outputs(calls[0], ablations.take(chosen))
            for number, y in zip(chosen, outputs, strict=True):
                first = self.run.observer.place(self.run.model, _like(calls[0], y))
                output = self._run_on(name, ablations.take(number[None]), first)
                sums, _ = self.run.score(output, self.data)
                self.run.add(name, len(ablations), int(number), sums - self.sums)

    def _run_on(self, name: str, ablation: Ablations, first: Array) -> Any:
        """The model's output where a layer lost an expert, from the layer's output in its first call."""
        if name in self.last:
            return first
        count = 0

        def change(layer: str, module: Any, x: Array, coefficients: Sequence[Array], y: Array) -> Array:
            nonlocal count
            if layer != name:
                return y
            count += 1
            if count == 1:
                return first
            # A layer that runs again gets another input by now.
            subject = read_call(module, x, coefficients, y)
            return _like(subject, compute_outputs(subject, ablation)[0])

        with self.run.observer.intervene(self.run.model, change):
            return self.run.call(self.run.model, self.data)


@dataclass(frozen=True)
class _Tasks:
    """The ablations of each layer on each batch, in order; as many as there are batches times layers."""

    run: _Run
    ablations: dict[str, Ablations]
    data: Iterable[Any]

    def __length_hint__(self) -> int:
        return length_hint(self.data) * len(self.ablations)

    def __iter__(self) -> Iterator[_Task]:
        for batch in self.data:
            started = self.run.start(batch)
            for name, ablations in self.ablations.items():
                yield partial(started.ablate, name, ablations)


def _like(subject: Subject, y: NumPyArray) -> Array:
    """An array of the subject's framework and type."""
    return subject.ops.from_float64(read_values("layer", y), subject.ops.dtype_name(subject.output))
