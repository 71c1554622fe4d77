"""The pictures of a report: which make sense for it, and what each says in words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.pictures import draw_class_means, draw_similarity, draw_usage
from ..analysis.pictures_images import SHOWN, draw_images
from ..analysis.pictures_layer import draw_ablations, draw_hierarchy, draw_spectra
from ..analysis.polysemanticity import polysemanticity
from .evaluation import BestInputs
from .report import Report, round_number
from .weights import Weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Images of a row.
_ON_A_PHONE = 5


@dataclass(frozen=True)
class Picture:
    """A figure with its words.

    Args:
        title: above it.
        alt: what a reader who does not see it should know, with its figures.
        caption: how to read it.
        draw: makes the figure.
        keeps_shape: whether a narrower one is lower, too.
        narrow: makes another one for a phone; None for the same.
    """

    title: str
    alt: str
    caption: str
    draw: Callable[[], "Figure"]
    keeps_shape: bool = False
    narrow: Callable[[], "Figure"] | None = None


def level_pictures(report: Report, level: int) -> Iterator[Picture]:
    """Those of one level: usage, classes, ablations, images."""
    layer = report.evaluation.recording
    load, usage = layer.load()[level], layer.usage()[level]
    largest, dead = int(load.argmax()), int(np.count_nonzero(load == 0))
    yield Picture(
        "How much each expert is used",
        f"Bars of the load and the usage of {len(load):,} experts. Expert {largest:,} has the largest load, "
        f"{100 * load[largest]:.1f} %; an equal one would be {100 / len(load):.1f} %. {dead:,} are dead.",
        "Load is an expert's share of all coefficients. Usage is the share of inputs whose "
        "coefficient for it is at "
        f"least {layer.threshold:g}. Dead experts have the coefficient 0 for every input.",
        lambda: draw_usage(load, usage, threshold=layer.threshold),
    )
    if layer.labels:
        yield _classes(report, level)
    if report.changes:
        yield _ablations(report, level)
    if report.data.image_shape is not None:
        yield _images(report, load, report.evaluation.best[level])


def hierarchy_pictures(report: Report) -> Iterator[Picture]:
    """Those of each two levels that follow each other."""
    layer = report.evaluation.recording
    for level, shares in enumerate(layer.conditional_usage()):
        known = float(layer.level_information()[level])
        most = float(np.log(min(shares.shape)))
        yield Picture(
            f"How level {level + 2} follows level {level + 1}",
            f"Heat map of {shares.shape[0]:,} experts of level {level + 1} by {shares.shape[1]:,} of level "
            f"{level + 2}. Their mutual information is {known:.3f} nats of at most {most:.3f}.",
            f"A row shows which experts of level {level + 2} serve the inputs of one expert of level "
            f"{level + 1}. "
            "Equal rows are levels that choose each for itself; blocks are a hierarchy.",
            lambda shares=shares, level=level: draw_hierarchy(shares, level=level),  # type: ignore[misc]
        )


def weight_pictures(weights: Weights) -> Iterator[Picture]:
    """Those of one layer's cores."""
    if weights.cosines is not None:
        yield _similarity(weights, weights.cosines)
    if len(weights.experts):
        ranks = [int(np.count_nonzero(values > 1e-10 * values.max())) for values in weights.spectra]
        numbers = ", ".join(f"{expert:,}" for expert in weights.experts)
        yield Picture(
            "How many directions the most used experts have",
            f"Singular values of experts {numbers}, of rank {min(ranks)} to {max(ranks)}, the largest "
            f"{round_number(float(weights.spectra.max()))}.",
            "The singular values of an expert's matrix. A steep line is an expert that uses few "
            "directions of its "
            "inputs; one that ends early has a low rank.",
            lambda: draw_spectra(weights.spectra, weights.experts),
        )


def _classes(report: Report, level: int) -> Picture:
    layer = report.evaluation.recording
    means = layer.class_means()[level]
    names = [report.data.names[label] for label in layer.labels]
    row, column = (int(n) for n in np.unravel_index(means.argmax(), means.shape))
    return Picture(
        "Which experts each class uses",
        f"Heat map of {len(names):,} classes by {means.shape[1]:,} experts. The largest mean coefficient, "
        f"{means[row, column]:.2f}, is that of expert {column:,} for class {names[row]}.",
        "The mean coefficient of each expert over the inputs of each class. Experts of the same "
        "class stand side by "
        "side, so that specialists form a diagonal.",
        lambda: draw_class_means(means, names),
    )


def _ablations(report: Report, level: int) -> Picture:
    changes = report.changes[level]
    result = polysemanticity(changes)
    expert, column = (int(n) for n in np.unravel_index(np.abs(changes).argmax(), changes.shape))
    classes = changes.shape[1]
    names = [*report.data.names, *map(str, range(len(report.data.names), classes))][:classes]
    return Picture(
        "What is lost without each expert",
        f"Heat map of the change of accuracy of {len(names):,} classes without each of "
        f"{len(changes):,} experts. "
        f"The largest is {100 * changes[expert, column]:+.1f} points for class {names[column]} "
        "without expert "
        f"{expert:,}. {int(np.isnan(result.experts).sum()):,} experts change nothing; the mean "
        "polysemanticity of "
        f"the others is {round_number(result.mean)}.",
        "Each expert is removed alone; those without which nothing changes are left out. Red cells "
        "are classes that "
        "get worse without "
        "it. Polysemanticity is 0 for an expert that one class depends on altogether, and grows as "
        "it serves several, "
        "or matters less.",
        lambda: draw_ablations(changes, names),
    )


def _images(report: Report, load: np.ndarray, best: BestInputs) -> Picture:
    chosen = [int(n) for n in np.argsort(-load, kind="stable")[:SHOWN]]
    rows = np.unique(best.rows[chosen])
    coefficients = np.zeros((len(rows), len(load)))
    for expert in chosen:
        coefficients[np.searchsorted(rows, best.rows[expert]), expert] = best.coefficients[expert]
    pixels, columns = report.data.take_images(rows), best.rows.shape[1]
    return Picture(
        "What the most used experts see",
        f"A row of images for each of the experts {', '.join(map(str, chosen))}: those with its "
        "largest coefficients, "
        f"from {best.coefficients[chosen].max():.2f} down.",
        "The inputs with the largest coefficients of each expert, and these coefficients.",
        lambda: draw_images(pixels, coefficients, experts=chosen, k=columns),
        keeps_shape=True,
        narrow=lambda: draw_images(pixels, coefficients, experts=chosen, k=min(columns, _ON_A_PHONE)),
    )


def _similarity(weights: Weights, cosines: np.ndarray) -> Picture:
    one, other, cosine = weights.closest or (0, 0, 0.0)
    return Picture(
        "How alike experts are",
        f"Matrix of the cosines between the weights of {len(cosines):,} experts, and the tree of "
        "them. The mean of all "
        f"pairs is {round_number(weights.mean_cosine)}; experts {one:,} and {other:,} are closest, with "
        f"{round_number(cosine)}.",
        "Cosines between the weights of every two experts, similar ones side by side. Dark blue "
        "blocks do much the "
        "same and might be merged.",
        lambda: draw_similarity(cosines),
        keeps_shape=True,
    )
