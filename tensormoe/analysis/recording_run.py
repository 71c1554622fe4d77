"""Recording a model: over data that this runs it on, or in a loop of the user's own."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import TensorMoEError, mapping, positive_number, true_or_false
from ..typing import Array
from .batches import Call, Pick, check_call, check_data, check_pick, find_observer, get_part
from .progress import show_progress
from .recording_live import Recorder
from .recordings import Recording
from .store import StoreWriter

_MASK = "attention_mask"


def record(
    model: Any,
    data: Iterable[Any],
    *,
    labels: Pick | None = None,
    mask: Pick | None = _MASK,
    columns: Mapping[str, Pick] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    threshold: float = 0.5,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Recording:
    """Run a model over data, and record the coefficients of all its μMoE layers and blocks.

    Memory does not grow with the data: sums over tokens are kept, and the tokens themselves only in a store
    on disk. The model is in evaluation mode for as long, and nothing stays attached to it. In PyTorch what
    `torch.compile` compiled runs eagerly. In JAX, pass `call=nnx.jit(lambda model, x: model(x))` for speed.

    Args:
        model: a `torch.nn.Module` or a `flax.nnx.Module`.
        data: batches. A mapping is passed by `model(**batch)`, a list or a tuple by `model(*batch)`,
            anything else by `model(batch)`. In PyTorch they are moved to the model's device.
        labels: where the labels are in a batch: a name, a place, or a function of the batch. By name or
            place they are not passed to the model. See `Recorder.batch` for their shape.
        mask: in the same way, where 1 stands for tokens that count and 0 for padding; by default
            "attention_mask", if batches have it.
        columns: in the same way, numbers that ride along to the store, by name: {"token": "input_ids"}.
        call: a function of model and batch that runs one, instead.
        threshold: from which coefficient on a token uses an expert. Of a gate without a fixed sum, such as
            "relu", choose one to its scale; means and loads are then those of coefficients as they are, and
            entropies those of shares a / Σ a.
        store: a folder that does not exist, for all coefficients, labels and columns; it is complete or, if
            anything fails, not there.
        progress: whether to show a progress bar, on standard error.

    Raises:
        TensorMoEError: a model without μMoE layers, or of which none ran; data without a batch; labels that
            do not fit; coefficients that are not finite; a store that exists.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoEBlock
        >>> model = torch.nn.Sequential(MuMoEBlock(8, 16, 8, (4, 2), tm.CP(5)), torch.nn.Linear(8, 3))
        >>> batches = [(torch.ones(6, 8), torch.tensor([0, 0, 0, 1, 1, 2])) for _ in range(5)]
        >>> recording = tm.analysis.record(model, batches, labels=1, progress=False)
        >>> layer = recording["0"]
        >>> layer.tokens, [each.shape for each in layer.class_means()]
        (30, [(3, 4), (3, 2)])
    """
    observer = find_observer(model)
    picks = {
        name: check_pick(f"columns[{name!r}]", pick)
        for name, pick in mapping("columns", columns or {}).items()
    }
    check_pick("labels", labels)
    check_pick("mask", mask)
    check_call(call)
    shown = true_or_false("progress", progress)
    check_data(data)
    run = call or Call(labels)
    with recording(model, threshold=threshold, store=store) as recorder, observer.evaluate(model):
        for batch in show_progress("recording", data) if shown else data:
            _record_batch(recorder, run, model, observer.place(model, batch), labels, mask, picks)
        if not any(layer.tokens for layer in recorder.values()):
            raise TensorMoEError("data", type(data), "no token was in it: pass batches of at least one")
    return Recording(recorder.sums, recorder.stores)


@contextmanager
def recording(
    model: Any = None, *, threshold: float = 0.5, store: str | os.PathLike[str] | None = None
) -> Iterator[Recorder]:
    """Record the coefficients of a model's layers while you run it yourself, as in training.

    The model's mode stays as it is, and nothing stays attached to it. Give labels by `recording.batch`. In
    JAX, call what is compiled in a `recording.batch`, too, which waits for it, and pass the model to nnx.jit:
    a function that was compiled around a model does not see who records.

    Args:
        model: a `torch.nn.Module` or a `flax.nnx.Module`; None to add coefficients by hand, as of the
            functional API.
        threshold, store: as for `record`.

    Raises:
        TensorMoEError: a model without μMoE layers, or a store that exists.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE
        >>> model = torch.nn.Sequential(MuMoE(8, 3, 4, tm.CP(5)))
        >>> with tm.analysis.recording(model) as recording:
        ...     y = model(torch.ones(2, 5, 8))
        >>> recording["0"].tokens
        10
    """
    limit = positive_number("threshold", threshold)
    observer = None if model is None else find_observer(model)
    experts = {} if observer is None else {name: spec.experts for name, spec in observer.find(model).items()}
    if observer is not None and not experts:
        raise TensorMoEError(
            "model", type(model), "it has no μMoE layer: put some in by replace, or pass their model"
        )
    writer = None if store is None else StoreWriter(store)
    recorder = Recorder(experts, limit, writer, _do_nothing if observer is None else observer.wait)
    try:
        if observer is None:
            yield recorder
        else:
            with observer.attach(model, recorder.receive):
                yield recorder
        recorder.finish()
    except BaseException:
        recorder.abandon()
        raise


def _record_batch(
    recorder: Recorder,
    run: Callable[[Any, Any], Any],
    model: Any,
    batch: Any,
    labels: Pick | None,
    mask: Pick | None,
    columns: Mapping[str, Pick],
) -> None:
    before = recorder.calls
    rides = {name: get_part(f"columns[{name!r}]", pick, batch) for name, pick in columns.items()}
    with recorder.batch(labels=get_part("labels", labels, batch), mask=_get_mask(mask, batch), **rides):
        run(model, batch)
    if recorder.calls == before:
        remedy = "no μMoE layer ran: let call= run the whole model, and nnx.jit take it as an argument"
        raise TensorMoEError("model", type(model), remedy)


def _get_mask(pick: Pick | None, batch: Any) -> Array | None:
    if pick == _MASK and not (isinstance(batch, Mapping) and _MASK in batch):
        return None
    return get_part("mask", pick, batch)


def _do_nothing() -> None:
    """There is nothing to wait for."""
