"""Adaptive Clustering by its definition: feature weights of clusters, token by token and cluster by cluster.

Nothing here is shared with `gates.clustering`, which says the same in terms of arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...gates.routers import AdaptiveClustering
from ...typing import NumPyArray

# The running statistics: the clusters' masses (K,), sums of inputs and of deviations (K, I).
CLUSTER_STATISTICS = ("router_mass", "router_total", "router_deviation")
# The clamp, as a multiple of the mean of all weights, and the mean that weights are divided by, as published.
_PUBLISHED = {"language": (10.0, "feature"), "vision": (1.5, "global")}


@dataclass(frozen=True)
class Clusters:
    """What the router makes of the layer before.

    Args:
        scale: the weights of each token's features (T, I).
        statistics: the running statistics afterwards, in the order of `CLUSTER_STATISTICS`, if there are any.
    """

    scale: NumPyArray
    statistics: list[NumPyArray]


def cluster(
    router: AdaptiveClustering,
    x: NumPyArray,
    previous: NumPyArray,
    running: Sequence[NumPyArray],
    training: bool,
) -> Clusters:
    """The weights of each token's features, by the clusters of one expert level of the layer before.

    Args:
        router: its options.
        x: (T, I).
        previous: the coefficients of the level before (T, K).
        running: the running statistics before, if there are any.
        training: whether the layer trains.
    """
    members = _assign(router, previous)
    mass, total = members.sum(axis=0), np.array([(a[:, None] * x).sum(axis=0) for a in members.T])
    by_batch = (router.statistics if training else router.evaluation) == "batch"
    following: list[NumPyArray] = []
    fades = 1 - router.momentum * bool(mass.sum() > 0)
    if running and training:
        following = [fades * running[0] + mass, fades * running[1] + total]
    centres = _divide(following[1], following[0]) if following and not by_batch else _divide(total, mass)
    deviation = np.array(
        [
            sum((a * _deviate(router, h - centre) for a, h in zip(column, x, strict=True)), 0 * centre)
            for column, centre in zip(members.T, centres, strict=True)
        ]
    )
    if following:
        following.append(fades * running[2] + deviation)
    used = (mass, deviation) if by_batch or not running else (running[0], running[2])
    weights = _weigh(router, *used)
    scale = np.array([sum(a * w for a, w in zip(token, weights, strict=True)) for token in members])
    return Clusters(scale.reshape(x.shape), following or [*running])


def _assign(router: AdaptiveClustering, previous: NumPyArray) -> NumPyArray:
    """How much each token belongs to each cluster (T, K)."""
    if router.assignment == "soft":
        return previous
    return np.array([[float(k == int(np.argmax(a))) for k in range(len(a))] for a in previous])


def _deviate(router: AdaptiveClustering, difference: NumPyArray) -> NumPyArray:
    return np.abs(difference) if router.dispersion == "mad" else difference**2


def _weigh(router: AdaptiveClustering, mass: NumPyArray, deviation: NumPyArray) -> NumPyArray:
    """The weights of every cluster's features (K, I)."""
    clamp, kind = _PUBLISHED[router.preset]
    clamp = clamp if router.clamp is None else router.clamp
    kind = router.normalization or kind
    if mass.sum() == 0:
        return np.ones_like(deviation)
    root = np.sqrt if router.dispersion == "std" else np.asarray
    pooled = root(deviation.sum(axis=0) / mass.sum())
    # A small cluster is filled up with the dispersion of all; in means it counts by what is its own.
    shares = np.array([n / max(n, router.shrinkage) if n > 0 else 0.0 for n in mass])
    spreads = root(_divide(deviation, mass))
    weights = np.array(
        [
            1 / (share * spread + (1 - share) * pooled + router.eps)
            for share, spread in zip(shares, spreads, strict=True)
        ]
    )
    mean = (shares @ weights).mean() / shares.sum()
    weights = np.minimum(weights, clamp * mean)
    return np.asarray(weights / (mean if kind == "global" else shares @ weights / shares.sum()))


def _divide(sums: NumPyArray, mass: NumPyArray) -> NumPyArray:
    """Means of clusters; 0 for an empty one."""
    return np.array([row / n if n > 0 else 0 * row for row, n in zip(sums, mass, strict=True)])


def initial_clusters(state: Mapping[str, NumPyArray], level: int) -> list[NumPyArray]:
    """A level's running statistics, if the state has them."""
    names = [f"{name}.{level}" for name in CLUSTER_STATISTICS]
    return [state[name] for name in names if name in state]
