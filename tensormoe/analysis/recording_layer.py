"""What a recording says of one layer: measures that follow from sums over its tokens."""

from dataclasses import dataclass, field

import numpy as np

from ..codec import Data
from ..errors import TensorMoEError
from ..typing import NumPyArray, Shape
from .information import entropy, information
from .recording_sums import LayerSums

Levels = tuple[NumPyArray, ...]


@dataclass(frozen=True)
class LayerRecording:
    """The measures of one layer or block over all tokens that were recorded. `Recording` holds them by name.

    Methods return one array for each expert level, or an array with one entry for each.

    Args:
        name: the layer's, in its model.
        sums: what was summed.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> with tm.analysis.recording() as recording:
        ...     recording.add("head", [np.array([[0.75, 0.25], [0.25, 0.75]])])
        >>> layer = recording["head"]
        >>> layer.tokens, layer.experts
        (2, (2,))
        >>> layer.load()[0].tolist(), layer.usage()[0].tolist()
        ([0.5, 0.5], [0.5, 0.5])
    """

    name: str
    sums: LayerSums = field(repr=False)

    @property
    def experts(self) -> Shape:
        """(N1, …, NE)."""
        return self.sums.experts

    @property
    def tokens(self) -> int:
        """How many tokens were recorded."""
        return int(self.sums.arrays["tokens"])

    @property
    def is_used(self) -> bool:
        """Whether each level had a coefficient above 0: otherwise measures have nothing to divide."""
        return all(map(np.any, self._sums("sum")))

    @property
    def threshold(self) -> float:
        """From which coefficient on a token uses an expert."""
        return self.sums.threshold

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels that came with tokens, ascending: the rows of `class_means`."""
        return tuple(map(int, self.sums.labels))

    def mean(self) -> Levels:
        """The mean coefficient of each expert, (N_e)."""
        return self._means("sum")

    def variance(self) -> Levels:
        """The variance of each expert's coefficient over tokens, (N_e)."""
        pairs = zip(self._means("square"), self.mean(), strict=True)
        return tuple((square - mean**2).clip(0) for square, mean in pairs)

    def load(self) -> Levels:
        """The `tm.analysis.load` of each level, (N_e): the mean coefficients where a token's sum to 1.

        Raises:
            TensorMoEError: all coefficients of a level were 0.
        """
        if not self.is_used:
            self._count()
            raise TensorMoEError(f"recording of {self.name!r}", 0, "all coefficients of a level were 0")
        return tuple(mean / mean.sum() for mean in self.mean())

    def usage(self) -> Levels:
        """The `tm.analysis.usage` of each level at the recording's threshold, (N_e)."""
        return self._means("used")

    def dead(self) -> Levels:
        """The `tm.analysis.dead` experts of each level, by number: those with 0 for every token."""
        return tuple(np.flatnonzero(mean == 0) for mean in self.mean())

    def wins(self) -> Levels:
        """The share of tokens whose largest coefficient is each expert's, (N_e); the first of equal ones."""
        return self._means("largest")

    def largest(self) -> Levels:
        """The shares of tokens whose largest coefficient lies in each twentieth of [0, 1], (20)."""
        return self._means("bins")

    def token_entropy(self) -> NumPyArray:
        """The mean over tokens of `tm.analysis.token_entropy`, (E): 0 if each token has one expert."""
        return np.array(self._means("entropy"))

    def load_entropy(self) -> NumPyArray:
        """The `tm.analysis.load_entropy` of each level, (E): ln N_e if all experts do as much."""
        return np.array([entropy(load) for load in self.load()])

    def effective_experts(self) -> NumPyArray:
        """The `tm.analysis.effective_experts` of each level, (E), from 1 to N_e."""
        return np.asarray(np.exp(self.load_entropy()))

    def class_means(self) -> Levels:
        """The mean coefficients over the tokens of each label, (C, N_e); row c is for `labels[c]`.

        Raises:
            TensorMoEError: no labels were recorded.
        """
        tokens = self._labelled()["label_tokens"]
        return tuple(each / tokens[:, None] for each in self._sums("label_sum"))

    def mutual_information(self) -> NumPyArray:
        """The `tm.analysis.mutual_information` of labels and each level's experts, (E).

        Raises:
            TensorMoEError: no labels were recorded.
        """
        self._labelled()
        return np.array([information(table) for table in self._sums("label_share")])

    def conditional_usage(self) -> Levels:
        """The `tm.analysis.conditional_usage` of each two levels that follow each other, (N_{e−1}, N_e).

        There is none for one level.
        """
        tables = [(table, table.sum(axis=1, keepdims=True)) for table in self._pairs()]
        return tuple(
            np.divide(table, total, out=np.full_like(table, np.nan), where=total > 0)
            for table, total in tables
        )

    def level_information(self) -> NumPyArray:
        """The `tm.analysis.level_information` of each two levels that follow each other, (E − 1)."""
        return np.array([information(table) for table in self._pairs()])

    def to_dict(self) -> dict[str, Data]:
        """The measures as plain data: sizes, and lists with one entry for each level.

        Examples:
            >>> import numpy as np
            >>> import tensormoe as tm
            >>> with tm.analysis.recording() as recording:
            ...     recording.add("head", [np.array([[0.75, 0.25], [0.25, 0.75]])])
            >>> recording["head"].to_dict()["load"]
            [[0.5, 0.5]]
        """
        data: dict[str, Data] = {"tokens": self.tokens, "experts": list(self.experts)}
        if not self.is_used:
            return data
        data |= {"threshold": self.threshold, "labels": list(self.labels)}
        for name in ("mean", "load", "usage", "wins", "largest"):
            data[name] = [each.tolist() for each in getattr(self, name)()]
        for name in ("token_entropy", "load_entropy", "effective_experts", "level_information"):
            data[name] = getattr(self, name)().tolist()
        if self.labels:
            data["class_means"] = [each.tolist() for each in self.class_means()]
            data["mutual_information"] = self.mutual_information().tolist()
        return data

    def _sums(self, name: str) -> Levels:
        return tuple(self.sums.arrays[f"{name}.{level}"] for level in range(len(self.experts)))

    def _means(self, name: str) -> Levels:
        count = self._count()
        return tuple(each / count for each in self._sums(name))

    def _count(self) -> int:
        if not self.tokens:
            raise TensorMoEError(
                f"recording of {self.name!r}", 0, "no token has passed this layer: call the model"
            )
        return self.tokens

    def _pairs(self) -> Levels:
        self._count()
        return tuple(self.sums.arrays[f"pair.{level}"] for level in range(1, len(self.experts)))

    def _labelled(self) -> dict[str, NumPyArray]:
        if not self.labels:
            remedy = "it has no labels: pass labels= to record, or to recording.batch"
            raise TensorMoEError(f"recording of {self.name!r}", self.labels, remedy)
        return self.sums.arrays
