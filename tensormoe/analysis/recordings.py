"""What was recorded of a whole model: its layers by name, tokens on disk, tables, files."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..checkpoints.files import check_path
from ..codec import Data, write_json
from ..errors import TensorMoEError
from ..tables import table
from ..typing import NumPyArray
from . import recording_file
from .recording_html import draw_table
from .recording_layer import LayerRecording
from .recording_sums import LayerSums
from .store import SUMMARY, Chunk, Store

_COLUMNS = (
    "layer",
    "level",
    "experts",
    "tokens",
    "effective",
    "largest load",
    "never ahead",
    "used",
    "entropy",
)


class Recording(Mapping[str, LayerRecording]):
    """The coefficients of a model's layers over many tokens, in summary: a mapping from their names.

    `record` returns it, and `recording` fills one in a loop of your own. Print it for a table; a notebook
    shows one with pictures.

    Args:
        layers: the sums of each layer by its name.
        stores: folders with the tokens themselves.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE
        >>> model = torch.nn.Sequential(MuMoE(8, 8, 4, tm.CP(5)), torch.nn.ReLU(), MuMoE(8, 3, 4, tm.CP(5)))
        >>> recording = tm.analysis.record(model, [torch.ones(6, 8)], progress=False)
        >>> list(recording), recording["2"].load()[0].tolist()
        (['0', '2'], [0.25, 0.25, 0.25, 0.25])
    """

    def __init__(self, layers: Mapping[str, LayerSums], stores: Sequence[Store] = ()) -> None:
        self._held = dict(layers)
        self.stores = tuple(stores)

    def __getitem__(self, name: str) -> LayerRecording:
        return LayerRecording(name, self._layers()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers())

    def __len__(self) -> int:
        return len(self._layers())

    def chunks(self, name: str) -> Iterator[Chunk]:
        """The tokens of a layer in the order in which they came, some thousands at a time, from disk.

        Args:
            name: of the layer.

        Raises:
            TensorMoEError: no such layer, no tokens were stored, or a file of the store has changed.

        Examples:
            >>> import tempfile
            >>> from pathlib import Path
            >>> import numpy as np
            >>> import tensormoe as tm
            >>> folder = Path(tempfile.mkdtemp()) / "tokens"
            >>> with tm.analysis.recording(store=folder) as recording:
            ...     recording.add("head", [np.array([[0.75, 0.25], [0.25, 0.75]])])
            >>> [chunk.coefficients[0].shape for chunk in recording.chunks("head")]
            [(2, 2)]
        """
        if not isinstance(name, str) or name not in self:
            raise TensorMoEError("name", name, f"choose one of {', '.join(map(repr, self))}")
        if not self.stores:
            raise TensorMoEError(
                "name", name, "no tokens were kept: record with store=, the name of a new folder"
            )
        return (chunk for store in self.stores for chunk in store.chunks(name))

    def merge(self, *others: "Recording") -> "Recording":
        """One recording of what this and others have seen, such as those of several processes.

        Args:
            others: of the same model, with the same threshold.

        Raises:
            TensorMoEError: layers of one name with other experts, or another threshold.

        Examples:
            >>> import numpy as np
            >>> import tensormoe as tm
            >>> with tm.analysis.recording() as recording:
            ...     recording.add("head", [np.ones((5, 1))])
            >>> recording.merge(recording)["head"].tokens
            10
        """
        layers = {name: sums.copy() for name, sums in self._layers().items()}
        stores = list(self.stores)
        for other in others:
            if not isinstance(other, Recording):
                raise TensorMoEError("others", type(other), "pass what record returned")
            for name, sums in other._layers().items():
                _check_same(name, layers.setdefault(name, LayerSums(sums.experts, sums.threshold)), sums)
                layers[name].add(sums)
            stores += other.stores
        return Recording(layers, stores)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sums to a file, which `Recording.open` reads. Tokens stay where they are stored.

        Args:
            path: of the file; by custom its name ends in ".safetensors", the format that it has.

        Raises:
            TensorMoEError: the file cannot be written.

        Examples:
            >>> import tempfile
            >>> from pathlib import Path
            >>> import numpy as np
            >>> import tensormoe as tm
            >>> path = Path(tempfile.mkdtemp()) / "recording.safetensors"
            >>> with tm.analysis.recording() as recording:
            ...     recording.add("head", [np.ones((5, 1))])
            >>> recording.save(path)
            >>> tm.analysis.Recording.open(path)["head"].tokens
            5
        """
        recording_file.write(self._layers(), check_path(path))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Recording":
        """Read what `save` wrote, or the folder of a store.

        Args:
            path: of the file or the folder.

        Raises:
            TensorMoEError: there is none, it is something else, or it has changed.

        Examples:
            >>> import tempfile
            >>> from pathlib import Path
            >>> import numpy as np
            >>> import tensormoe as tm
            >>> folder = Path(tempfile.mkdtemp()) / "tokens"
            >>> with tm.analysis.recording(store=folder) as recording:
            ...     recording.add("head", [np.ones((5, 1))])
            >>> tm.analysis.Recording.open(folder)["head"].tokens
            5
        """
        target = check_path(path)
        if not os.path.isdir(target):
            return Recording(recording_file.read(target))
        store = Store.open(target)
        return Recording(recording_file.read(os.path.join(target, SUMMARY)), [store])

    def to_json(self) -> str:
        """The measures of all layers as JSON text.

        Examples:
            >>> import json
            >>> import numpy as np
            >>> import tensormoe as tm
            >>> with tm.analysis.recording() as recording:
            ...     recording.add("head", [np.array([[0.75, 0.25], [0.25, 0.75]])])
            >>> json.loads(recording.to_json())["layers"]["head"]["load"]
            [[0.5, 0.5]]
        """
        layers: dict[str, Data] = {name: layer.to_dict() for name, layer in self.items()}
        return write_json({"layers": layers})

    def __str__(self) -> str:
        return table(_COLUMNS, self._rows(), text_columns=1)

    def __repr__(self) -> str:
        layers = ", ".join(f"{layer.name!r}: {layer.tokens:,} tokens" for layer in self.values())
        return f"{type(self).__name__}({{{layers}}})"

    def _repr_html_(self) -> str:
        loads = [load for layer in self.values() for load in _loads(layer)]
        return draw_table(_COLUMNS, list(self._rows()), loads)

    def _layers(self) -> dict[str, LayerSums]:
        return self._held

    def _rows(self) -> Iterable[tuple[str, ...]]:
        for layer in self.values():
            for level, n in enumerate(layer.experts):
                head = layer.name or "(the model)", f"{level + 1}", f"{n:,}", f"{layer.tokens:,}"
                yield (*head, *(_figures(layer, level) if layer.is_used else ("",) * 5))


def _loads(layer: LayerRecording) -> Sequence[NumPyArray | None]:
    return layer.load() if layer.is_used else (None,) * len(layer.experts)


def _figures(layer: LayerRecording, level: int) -> tuple[str, ...]:
    load, wins, usage = layer.load()[level], layer.wins()[level], layer.usage()[level]
    return (
        f"{layer.effective_experts()[level]:.1f}",
        f"{load.max():.3f}",
        f"{np.count_nonzero(wins == 0):,}",
        f"{np.count_nonzero(usage):,}",
        f"{layer.token_entropy()[level]:.3f}",
    )


def _check_same(name: str, mine: LayerSums, other: LayerSums) -> None:
    for argument, ours, theirs in (
        ("experts", mine.experts, other.experts),
        ("threshold", mine.threshold, other.threshold),
    ):
        if ours != theirs:
            remedy = f"the recording that it is merged into has {ours}: merge recordings of one model"
            raise TensorMoEError(f"{argument} of {name!r}", theirs, remedy)
