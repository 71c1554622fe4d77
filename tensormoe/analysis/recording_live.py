"""A recording that is being made: it takes coefficients as they come, a batch at a time or call by call."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ..arrays.numpy_kinds import NUMPY_TYPES
from ..errors import TensorMoEError
from ..typing import Array, NumPyArray, Shape
from .recording_batch import LABELS, Batch, to_numpy
from .recording_file import write
from .recording_sums import LayerSums
from .recordings import Recording
from .store import Chunk, StoreWriter


class _Taken(NamedTuple):
    """What one call of a layer gave, checked, and the sums over it."""

    name: str
    chunk: Chunk
    sums: LayerSums


class Recorder(Recording):
    """A `Recording` that takes coefficients: what `tm.analysis.recording` gives in its context.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE
        >>> model = torch.nn.Sequential(MuMoE(8, 3, 4, tm.CP(5)))
        >>> with tm.analysis.recording(model) as recording:
        ...     for labels in (0, 1):
        ...         with recording.batch(labels=labels):
        ...             y = model(torch.ones(6, 8))
        >>> recording["0"].tokens, recording["0"].labels
        (12, (0, 1))
    """

    def __init__(
        self,
        layers: dict[str, Shape],
        threshold: float,
        writer: StoreWriter | None,
        wait: Callable[[], None],
    ) -> None:
        super().__init__({name: LayerSums(experts, threshold) for name, experts in layers.items()})
        self._threshold, self._writer, self._wait = threshold, writer, wait
        self._pending: list[tuple[str, Sequence[Array]]] = []
        self._batch: Batch | None = None
        self._closed = False
        # How many calls of layers were taken.
        self.calls = 0

    @property
    def sums(self) -> dict[str, LayerSums]:
        """The sums of each layer by its name."""
        return dict(self._layers())

    def add(self, name: str, coefficients: Sequence[Array] | Array) -> None:
        """Record coefficients that a layer returned, as those of the functional API.

        Args:
            name: of the layer.
            coefficients: (…, N_e) for each level, such as `tm.apply` returns; one array for one level. In a
                `batch` they have its labels.

        Raises:
            TensorMoEError: coefficients with other experts than before, or that are negative or not finite.

        Examples:
            >>> import numpy as np
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(8, 3, experts=4, factorization=tm.CP(rank=5))
            >>> parameters, state = tm.initialize(spec)
            >>> with tm.analysis.recording() as recording:
            ...     result = tm.apply(spec, parameters, np.ones((6, 8), "float32"), state=state)
            ...     recording.add("head", result.coefficients)
            >>> recording["head"].load()[0].tolist()
            [0.25, 0.25, 0.25, 0.25]
        """
        self._check_open()
        if not isinstance(name, str):
            raise TensorMoEError("name", name, "pass the layer's name as text")
        self.receive(name, [coefficients] if hasattr(coefficients, "shape") else coefficients)

    @contextmanager
    def batch(
        self, *, labels: Array | None = None, mask: Array | None = None, **columns: Array
    ) -> Iterator[None]:
        """A context for one batch: its labels go with all coefficients that layers give in it.

        They are recorded when it ends, all or, if anything is wrong or raised, none. What JAX has compiled
        may run on after a call: the end of a batch waits for it.

        Args:
            labels: integers from 0 on; −100 for tokens of no class. They are of the batch, (B), or of its
                tokens, (B, S): as many leading axes of the coefficients as they have, or all tokens in order.
            mask: 1 for tokens that count and 0 for padding, such as `attention_mask`. A layer with one vector
                for each sequence records those in which any token counts.
            columns: more numbers that ride along to the store, such as `token=ids`.

        Raises:
            TensorMoEError: labels that do not fit the coefficients, columns without a store, coefficients
                that are not finite, or a batch in a batch.
        """
        self._check_open()
        if self._batch is not None:
            raise TensorMoEError("batch", "a batch in a batch", "end the one before first")
        if columns and self._writer is None:
            raise TensorMoEError("columns", sorted(columns), "they are kept with the tokens: pass store=")
        if LABELS in columns:
            raise TensorMoEError("columns", sorted(columns), "choose another name than 'labels'")
        self._flush()
        self._batch = batch = Batch.read(labels, mask, columns)
        try:
            yield
            self._wait()
        except BaseException:
            self._pending.clear()
            raise
        finally:
            self._batch = None
        self._commit(batch)

    def receive(self, name: str, coefficients: Sequence[Array], later: bool = False) -> None:
        """Take the coefficients of one call; `later` if no array may be read in this thread."""
        self._pending.append((name, coefficients))
        if self._batch is None and not later:
            self._commit(Batch())

    def finish(self) -> None:
        """Record what is left, and complete the store; after that nothing is taken."""
        self._flush()
        self._closed = True
        if self._writer is not None:
            layers = self._held
            self.stores = (self._writer.finish(lambda path: write(layers, path)),)
            self._writer = None

    def abandon(self) -> None:
        """Remove the store that was begun; after that nothing is taken."""
        self._closed = True
        self._pending.clear()
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _layers(self) -> dict[str, LayerSums]:
        if self._batch is None:
            self._flush()
        return self._held

    def _check_open(self) -> None:
        if self._closed:
            raise TensorMoEError(
                "recording", "one that has ended", "begin another: with tm.analysis.recording(…)"
            )

    def _flush(self) -> None:
        """Record calls that were made outside of a batch, and compiled."""
        if not self._closed:
            self._wait()
            self._commit(Batch())

    def _commit(self, batch: Batch) -> None:
        calls, self._pending = self._pending, []
        # Everything is checked before anything is added.
        taken = [self._take(name, coefficients, batch) for name, coefficients in calls]
        for name, chunk, sums in taken:
            if self._writer is not None and len(chunk.coefficients[0]):
                self._writer.append(name, chunk)
            self._held.setdefault(name, LayerSums(sums.experts, self._threshold)).add(sums)
        self.calls += len(taken)

    def _take(self, name: str, coefficients: Sequence[Array], batch: Batch) -> _Taken:
        levels = _read_levels(name, coefficients)
        experts = tuple(a.shape[-1] for a in levels)
        known = self._held.get(name)
        if known is not None and known.experts != experts:
            remedy = f"those of {name!r} are for experts={known.experts}"
            raise TensorMoEError("coefficients", experts, remedy)
        leading = levels[0].shape[:-1]
        keep, columns = batch.keep(leading, name), batch.spread(leading, name)
        flat = [a.reshape(-1, a.shape[-1]) for a in levels]
        if keep is not None:
            flat, columns = [a[keep] for a in flat], {label: each[keep] for label, each in columns.items()}
        if self._writer is not None:
            self._writer.check(name, columns)
        wide = [a if a.dtype.itemsize > 2 else a.astype("float32") for a in flat]
        try:
            sums = LayerSums.of(wide, self._threshold, columns.get(LABELS))
        except TensorMoEError as error:
            raise TensorMoEError(f"{error.argument} of {name!r}", error.received, error.remedy) from error
        return _Taken(name, Chunk(tuple(flat), columns), sums)


def _read_levels(name: str, coefficients: Sequence[Array]) -> list[NumPyArray]:
    """The coefficients of each level, (…, N_e), as NumPy arrays."""
    argument = f"coefficients of {name!r}"
    if not isinstance(coefficients, Sequence) or not coefficients or isinstance(coefficients, str | bytes):
        raise TensorMoEError(argument, type(coefficients), "pass a list with an array for each expert level")
    levels = [to_numpy(argument, each) for each in coefficients]
    for a in levels:
        if a.dtype.name not in NUMPY_TYPES or a.ndim == 0 or a.shape[-1] == 0:
            remedy = "pass arrays of floating-point numbers with a last axis of experts"
            raise TensorMoEError(argument, f"{a.dtype} {a.shape}", remedy)
        if a.shape[:-1] != levels[0].shape[:-1]:
            remedy = "all levels have the same leading axes"
            raise TensorMoEError(argument, [each.shape for each in levels], remedy)
    return [np.asarray(a, a.dtype.newbyteorder("=")) for a in levels]
