"""Training blocks to give the outputs of what they replace."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from tensormoe.errors import TensorMoEError, positive_integer, positive_number, true_or_false
from tensormoe.tables import table

# The name of a module, what was there, and what is trained to do the same.
Pair = tuple[str, nn.Module, nn.Module]
# How many batches errors are measured on, where no others are given.
_MEASURED = 8


@dataclass(frozen=True)
class Fidelity:
    """How well one module gives the outputs of another.

    Args:
        name: of the module.
        before, after: the norm of the difference of outputs over that of the outputs wanted.

    Examples:
        >>> from tensormoe_torch import Fidelity
        >>> Fidelity("mlp", before=1.0, after=0.1).after
        0.1
    """

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Distillation:
    """What `distill` reached. Print it for a table.

    Args:
        rows: one for each pair.
        losses: the mean over pairs of the normalized squared error, step by step.

    Examples:
        >>> from tensormoe_torch import Distillation, Fidelity
        >>> print(Distillation((Fidelity("mlp", 1.0, 0.1),), (1.0, 0.01)))
        <BLANKLINE>
         module   error before    after
         ──────────────────────────────
         mlp            1.0000   0.1000
    """

    rows: tuple[Fidelity, ...]
    losses: tuple[float, ...]

    def __str__(self) -> str:
        cells = [(row.name, f"{row.before:.4f}", f"{row.after:.4f}") for row in self.rows]
        return table(("module", "error before", "after"), cells)


def distill(
    pairs: Sequence[Pair],
    data: Iterable[object],
    *,
    model: nn.Module | None = None,
    steps: int = 1000,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    validation: Iterable[object] | None = None,
    progress: bool = False,
) -> Distillation:
    """Train modules to give the outputs of those they replace, on the inputs that they get.

    Use it after a replacement, before the whole model is trained, or where weights cannot be converted, as
    those of a mixture of MLPs. All modules are trained at once: inside the model, each gets the inputs that
    it would get from the old model, so that no error of one reaches another. Nothing else in the model
    changes.

    Args:
        pairs: (name, old module, new module) for each. The old ones may have any parts.
        data: batches, gone through as often as needed. With a model, what it takes: a tensor, a tuple of
            arguments, or a mapping of keywords. Without one, inputs x (…, I) of the only pair.
        model: the model that holds the new modules; None for a single pair.
        steps: of AdamW; the learning rate falls to zero over them.
        learning_rate, weight_decay: as for `torch.optim.AdamW`.
        validation: batches to measure the errors on; None for the first eight of the data.
        progress: whether to show a progress bar.

    Returns:
        The relative error of every module's outputs before and after, and the losses.

    Raises:
        TensorMoEError: no pair, several without a model, no batch, a model that does not call a module, or a
            loss that is not finite.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015; here each module
    is taught by its own outputs, as in Romero et al., "FitNets: Hints for Thin Deep Nets", 2015.

    Examples:
        >>> import tensormoe as tm, tensormoe_torch, torch
        >>> _ = torch.manual_seed(0)
        >>> mlp = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 8))
        >>> block = tensormoe_torch.MuMoEBlock(8, 16, 8, experts=4, factorization=tm.CP(rank=9))
        >>> batches = [torch.randn(64, 8) for _ in range(10)]
        >>> report = tensormoe_torch.distill([("mlp", mlp, block)], batches, steps=200, learning_rate=0.01)
        >>> report.rows[0].after < 0.5 * report.rows[0].before
        True
    """
    lesson = _Lesson(_check_pairs(pairs, model), model)
    count = positive_integer("steps", steps)
    rate = positive_number("learning_rate", learning_rate)
    decay = 0.0 if weight_decay == 0 else positive_number("weight_decay", weight_decay)
    shown = true_or_false("progress", progress)
    measured = list(islice(_iterate("data", data), _MEASURED))
    if validation is not None:
        measured = list(_iterate("validation", validation))
    with lesson.prepare():
        before = lesson.measure(measured)
        parameters = [p for _, _, new in lesson.pairs for p in new.parameters()]
        optimizer = torch.optim.AdamW(parameters, rate, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / count)
        losses = []
        with _bar(shown, count) as report:
            for step, batch in enumerate(islice(_repeat(data), count)):
                loss = torch.stack([_divide(*sums) for sums in lesson.compare(batch)]).mean()
                losses.append(float(loss.detach()))
                if not torch.isfinite(loss):
                    raise TensorMoEError("learning_rate", rate, f"the loss at step {step} is not finite")
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                report(losses[-1])
        after = lesson.measure(measured)
    names = [name for name, _, _ in lesson.pairs]
    rows = tuple(map(Fidelity, names, before, after))
    return Distillation(rows, tuple(losses))


def _check_pairs(pairs: object, model: object) -> tuple[Pair, ...]:
    if model is not None and not isinstance(model, nn.Module):
        raise TensorMoEError("model", type(model), "pass the torch.nn.Module that holds the new modules")
    listed = tuple(pairs) if isinstance(pairs, list | tuple) else ()
    for pair in listed:
        if not isinstance(pair, tuple) or [isinstance(part, nn.Module) for part in pair] != [
            False,
            True,
            True,
        ]:
            raise TensorMoEError("pairs", type(pair), "pass tuples (name, old module, new module)")
    if not listed:
        raise TensorMoEError("pairs", type(pairs), "pass a list of (name, old module, new module)")
    if model is None and len(listed) > 1:
        raise TensorMoEError("pairs", len(listed), "pass the model that holds the new modules, as model=")
    return tuple((str(name), old, new) for name, old, new in listed)


def _iterate(argument: str, data: Iterable[object]) -> Iterator[object]:
    if not isinstance(data, Iterable) or isinstance(data, Tensor | str):
        raise TensorMoEError(argument, type(data), "pass an iterable of batches, such as a DataLoader")
    return iter(data)


def _repeat(data: Iterable[object]) -> Iterator[object]:
    """The batches, again and again."""
    while True:
        empty = True
        for batch in data:
            empty = False
            yield batch
        if empty:
            raise TensorMoEError("data", type(data), "it has no batch left: pass a list or a DataLoader")


class _Lesson:
    """Pairs of modules, on whose outputs a pass of the model tells the squared errors."""

    def __init__(self, pairs: tuple[Pair, ...], model: nn.Module | None) -> None:
        self.pairs = pairs
        self._model = model
        self._sums: dict[int, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def prepare(self) -> Iterator[None]:
        """Within it, new modules learn, old ones answer in their place, and all else stays as it is."""
        modules = [self._model] if self._model is not None else []
        modules += [module for _, old, new in self.pairs for module in (old, new)]
        modes = {part: part.training for module in modules for part in module.modules()}
        frozen = {p: p.requires_grad for module in modules for p in module.parameters()}
        learning = {p for _, _, new in self.pairs for p in new.parameters()}
        hooks = []
        try:
            for parameter in frozen:
                parameter.requires_grad_(parameter in learning)
            for part in modes:
                part.training = False
            if self._model is not None:
                hooks = [
                    new.register_forward_hook(self._answer(number, old))
                    for number, (_, old, new) in enumerate(self.pairs)
                ]
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for parameter, required in frozen.items():
                parameter.requires_grad_(required)
            for part, training in modes.items():
                part.training = training

    def compare(self, batch: object, learn: bool = True) -> list[tuple[Tensor, Tensor]]:
        """For every pair, the squared error and the squared norm of the outputs wanted, on one batch."""
        for _, _, new in self.pairs:
            new.train(learn)
            for part in new.modules():
                # Dropout would teach modules to make up for it.
                part.training = learn and not isinstance(part, nn.Dropout)
        self._sums.clear()
        if self._model is not None:
            _call(self._model, batch)
        else:
            _, old, new = self.pairs[0]
            inputs = tuple(batch) if isinstance(batch, list | tuple) else (batch,)
            if not all(isinstance(x, Tensor) for x in inputs):
                raise TensorMoEError("data", type(batch), "pass batches of inputs x, as tensors")
            self._add(0, new(*inputs), old, inputs)
        for number, (name, _, _) in enumerate(self.pairs):
            if number not in self._sums:
                raise TensorMoEError(
                    "model", type(self._model), f"it does not call the new module of {name!r}"
                )
        return [self._sums[number] for number in range(len(self.pairs))]

    def measure(self, batches: Sequence[object]) -> list[float]:
        """The relative error of every pair, over all batches."""
        if not batches:
            raise TensorMoEError("data", 0, "pass at least one batch")
        with torch.no_grad():
            sums = [self.compare(batch, learn=False) for batch in batches]
        return [
            float(torch.sqrt(_divide(*(torch.stack(parts).sum() for parts in zip(*each, strict=True)))))
            for each in zip(*sums, strict=True)
        ]

    def _answer(
        self, number: int, old: nn.Module
    ) -> Callable[[nn.Module, tuple[object, ...], object], Tensor]:
        """A hook that compares a new module's output with the old one's, which goes on through the model."""

        def answer(module: nn.Module, inputs: tuple[object, ...], output: object) -> Tensor:
            return self._add(number, output, old, inputs)

        return answer

    def _add(self, number: int, output: object, old: nn.Module, inputs: tuple[object, ...]) -> Tensor:
        with torch.no_grad():
            wanted = old(*inputs)
        y, target = (each[0] if isinstance(each, tuple) else each for each in (output, wanted))
        if not isinstance(y, Tensor) or not isinstance(target, Tensor) or y.shape != target.shape:
            shapes = [getattr(each, "shape", type(each)) for each in (y, target)]
            raise TensorMoEError("pairs", shapes, f"{self.pairs[number][0]!r}: outputs differ in shape")
        difference, size = (y - target).float(), target.float()
        error, norm = torch.sum(difference * difference), torch.sum(size * size)
        # A module that is called several times learns from all of them.
        known = self._sums.get(number)
        self._sums[number] = (error, norm) if known is None else (known[0] + error, known[1] + norm)
        return target


def _divide(error: Tensor, size: Tensor) -> Tensor:
    """The error relative to the size of outputs, which may be zero."""
    return error / size.clamp_min(torch.finfo(size.dtype).tiny)


def _call(model: nn.Module, batch: object) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    elif isinstance(batch, list | tuple):
        model(*batch)
    else:
        model(batch)


@contextmanager
def _bar(shown: bool, steps: int) -> Iterator[Callable[[float], None]]:
    """A function that takes a step's loss, for a progress bar if one is shown."""
    if not shown:
        yield lambda loss: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as bar:
        task = bar.add_task("distilling", total=steps)
        yield lambda loss: bar.update(task, advance=1, description=f"squared error {loss:.2e}")
