"""What a recording says of one layer: measures that follow from sums over its tokens."""

from dataclasses import dataclass, field

import numpy as np

from ..codec import Data
from ..errors import TensorMoEError
from ..typing import NumPyArray, Shape
from .recording_sums import LayerSums

Levels = tuple[NumPyArray, ...]
# In place of a sum of nothing but zeros.
_TINY = np.finfo("float64").tiny


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
    def threshold(self) -> float:
        """From which coefficient on a token uses an expert."""
        return self.sums.threshold

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels that came with tokens, ascending: the rows of `by_class`."""
        return tuple(map(int, self.sums.labels))

    def mean(self) -> Levels:
        """The mean coefficient of each expert, (N_e)."""
        return self._means("sum")

    def load(self) -> Levels:
        """Each expert's share of all coefficients of its level, (N_e), as `tm.analysis.load` of that level.

        It is the mean coefficient where a token's coefficients sum to 1, as those of most gates do.
        """
        return tuple(mean / max(mean.sum(), _TINY) for mean in self.mean())

    def dead(self) -> tuple[NumPyArray, ...]:
        """The experts whose coefficient was 0 for every token, by number, as `tm.analysis.dead`."""
        return tuple(np.flatnonzero(mean == 0) for mean in self.mean())

    def variance(self) -> Levels:
        """The variance of each expert's coefficient over tokens, (N_e)."""
        return tuple(
            (square - mean**2).clip(0)
            for square, mean in zip(self._means("square"), self.mean(), strict=True)
        )

    def usage(self) -> Levels:
        """The share of tokens whose coefficient is at least the threshold, (N_e), as `tm.analysis.usage`."""
        return self._means("used")

    def wins(self) -> Levels:
        """The share of tokens whose largest coefficient is each expert's, (N_e); the first of equal ones."""
        return self._means("largest")

    def largest(self) -> Levels:
        """The shares of tokens whose largest coefficient lies in each twentieth of [0, 1], (20)."""
        return self._means("share")

    def entropy(self) -> NumPyArray:
        """The mean over tokens of −Σ a ln a, (E), in nats: 0 if each token has one expert."""
        return np.array(self._means("entropy"))

    def entropy_of_mean(self) -> NumPyArray:
        """The entropy of the mean coefficients, (E), in nats: ln N_e if all experts have the same load."""
        return np.array([_entropy(mean) for mean in self.mean()])

    def by_class(self) -> Levels:
        """The mean coefficients over the tokens of each label, (C, N_e); rows are `labels`.

        Raises:
            TensorMoEError: no labels were recorded.
        """
        count = self._label_tokens()
        return tuple(each / count[:, None] for each in self._sums("label_sum"))

    def mutual_information(self) -> NumPyArray:
        """Of label and expert where an expert is drawn by a token's coefficients, (E), in nats.

        It is H(E[a]) − Σ_c p(c) H(E[a | c]) with the entropies of mean coefficients, over the tokens with
        a label: 0 if they tell nothing of the class.

        Raises:
            TensorMoEError: no labels were recorded.
        """
        share = self._label_tokens() / self._label_tokens().sum()
        within = [share @ [_entropy(row) for row in means] for means in self.by_class()]
        overall = [_entropy(share @ means) for means in self.by_class()]
        information: NumPyArray = (np.array(overall) - within).clip(0)
        return information

    def conditional(self) -> Levels:
        """For each level e after the first, the mean of a_e given an expert of level e − 1, (N_{e−1}, N_e).

        Row n is Σ_t a_{e−1}[t, n] a_e[t] / Σ_t a_{e−1}[t, n]; zeros where no token has the expert.
        """
        self._count()
        totals = self._sums("sum")
        rows = [total.reshape(-1, 1) for total in totals[:-1]]
        pairs = [self.sums.arrays[f"pair.{level}"] for level in range(1, len(totals))]
        return tuple(
            np.divide(pair, row, out=np.zeros_like(pair), where=row > 0)
            for pair, row in zip(pairs, rows, strict=True)
        )

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
        if not self.tokens:
            return data
        for name in ("mean", "load", "usage", "wins", "largest"):
            data[name] = [each.tolist() for each in getattr(self, name)()]
        data |= {"entropy": self.entropy().tolist(), "entropy_of_mean": self.entropy_of_mean().tolist()}
        data["conditional"] = [each.tolist() for each in self.conditional()]
        if self.labels:
            data |= {"labels": list(self.labels), "by_class": [each.tolist() for each in self.by_class()]}
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

    def _label_tokens(self) -> NumPyArray:
        if not self.labels:
            remedy = "it has no labels: pass labels= to record, or to recording.batch"
            raise TensorMoEError(f"recording of {self.name!r}", self.labels, remedy)
        return self.sums.arrays["label_tokens"]


def _entropy(a: NumPyArray) -> float:
    """−Σ a ln a; 0 ln 0 is 0."""
    present = a[a > 0]
    return float(-(present @ np.log(present)))
