"""What was measured of a layer, as text."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..analysis.fairness import accuracy, group_accuracy
from ..analysis.polysemanticity import polysemanticity
from ..layers.spec import Spec
from ..tables import fold, table
from ..typing import NumPyArray
from .data import Data
from .evaluation import Evaluation
from .weights import Weights

LEVELS = (
    "level",
    "experts",
    "effective",
    "largest load",
    "dead",
    "used",
    "entropy\nof an input",
    "entropy\nof the load",
)
WEIGHTS = ("layer", "experts", "least\nnorm", "median\nnorm", "largest\nnorm")


@dataclass(frozen=True)
class Report:
    """What a layer's experts did with some inputs; prints as tables.

    Args:
        checkpoint: the file that the layer is from.
        name: the layer's in that file; "" if it was saved alone.
        spec: the layer's.
        backend, dtype: what computed it.
        batch_size: how many inputs at once.
        data: the inputs.
        evaluation: what the layer did.
        is_classifier: whether its outputs are the logits of the data's classes.
        changes: those of each class's accuracy without each expert, (N_e, C) for each level; none without a
            classifier.
        weights: of each layer by its name.
    """

    checkpoint: str
    name: str
    spec: Spec
    backend: str
    dtype: str
    batch_size: int
    data: Data
    evaluation: Evaluation
    is_classifier: bool
    changes: tuple[NumPyArray, ...]
    weights: dict[str, Weights]

    @property
    def accuracy(self) -> float | None:
        """Of all inputs; None if outputs are not classes."""
        if not self.is_classifier or self.data.labels is None:
            return None
        return accuracy(self.evaluation.predictions, self.data.labels)

    def accuracy_by(self, groups: NumPyArray | None) -> NumPyArray | None:
        """Of each class or group, (G,), NaN for one without an input; None if outputs are not classes."""
        if groups is None or self.accuracy is None:
            return None
        return group_accuracy(self.evaluation.predictions, self.data.labels, groups)

    @property
    def title(self) -> str:
        """The layer in a line."""
        sizes = " → ".join(f"{size:,}" for size in self.spec.features)
        experts = " × ".join(f"{n:,}" for n in self.spec.experts)
        named = f"{self.name}, " if self.name else ""
        return f"{named}{sizes} with {experts} experts, {self.spec.factorization}"

    @property
    def facts(self) -> str:
        """The inputs in a line."""
        labels = f", {len(self.data.names):,} classes" if self.data.labels is not None else ", no labels"
        said = "" if self.accuracy is None else f", accuracy {100 * self.accuracy:.1f} %"
        return (
            f"{len(self.data):,} inputs of {os.path.basename(os.path.normpath(self.data.path))}{labels}{said}"
        )

    def level_rows(self) -> Iterator[list[str]]:
        """A row of figures for each level, under `level_heads`."""
        layer = self.evaluation.recording
        for level, experts in enumerate(layer.experts):
            load, usage = layer.load()[level], layer.usage()[level]
            row = [
                f"{level + 1}",
                f"{experts:,}",
                f"{layer.effective_experts()[level]:.1f}",
                f"{100 * load.max():.1f} %",
                f"{len(layer.dead()[level]):,}",
                f"{np.count_nonzero(usage):,}",
                f"{layer.token_entropy()[level]:.3f}",
                f"{layer.load_entropy()[level]:.3f}",
            ]
            if layer.labels:
                row.append(f"{layer.mutual_information()[level]:.3f}")
            if self.changes:
                row.append(round_number(polysemanticity(self.changes[level]).mean))
            yield row

    def level_heads(self) -> list[str]:
        """The columns of `level_rows`."""
        labelled = ["information\non classes"] if self.evaluation.recording.labels else []
        ablated = ["polysemanticity"] if self.changes else []
        return [*LEVELS, *labelled, *ablated]

    def weight_rows(self) -> Iterator[list[str]]:
        """A row of figures for each layer, under `weight_heads`."""
        for name, each in self.weights.items():
            row = [name if len(self.weights) > 1 else "weights", f"{len(each.norms):,}"]
            row += [round_number(value) for value in np.quantile(each.norms, (0, 0.5, 1))]
            if any(other.cosines is not None for other in self.weights.values()):
                one, most, closest = each.closest or ("", "", np.nan)
                row += [round_number(each.mean_cosine), round_number(closest), f"{one}, {most}"]
            yield row

    def weight_heads(self) -> list[str]:
        """The columns of `weight_rows`."""
        compared = any(each.cosines is not None for each in self.weights.values())
        return [*WEIGHTS, *(("mean\ncosine", "largest\ncosine", "between\nexperts") if compared else ())]

    def __str__(self) -> str:
        named = f"{os.path.basename(self.checkpoint)}: {self.title}; {self.backend}, {self.dtype}"
        unit = f"used: by an input with a coefficient of at least {self.evaluation.recording.threshold:g}"
        levels = table(self.level_heads(), self.level_rows(), text_columns=1)
        weights = table(self.weight_heads(), self.weight_rows(), text_columns=1)
        return "\n".join([fold(named, self.facts), levels, fold(f"\n{unit}; entropies in nats"), weights])


def round_number(value: float | None) -> str:
    """Three digits; a dash for what has no value."""
    if value is None or np.isnan(value):
        return "–"
    return f"{value:#.3g}".rstrip(".") if 0.001 <= abs(value) < 1000 else f"{value:,.4g}"
