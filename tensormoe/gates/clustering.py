"""Feature weights of clusters: a feature along which a cluster is tight counts more.

The clusters are those of the previous layer's experts. A token belongs to cluster k with weight a_tk, its
coefficient, or, by hard assignment, only to the cluster of its largest coefficient. With N_k = Σ_t a_tk,

    μ_kq = Σ_t a_tk h_tq / N_k,    s_kq = Σ_t a_tk |h_tq − μ_kq| / N_k,    w_kq = 1/(s_kq + ε),

and token t gets Σ_k a_tk w_kq. The hard rule is that of Nielsen et al., "Tight Clusters Make Specialized
Experts", 2025, section 3, as its published code computes it: weights are clipped at a multiple of their mean
and divided by a mean. Soft coefficients, the standard deviation instead of the mean absolute deviation, the
treatment of small clusters and running statistics are extensions.
"""

from dataclasses import dataclass
from math import inf, prod

from ..arrays.backend import at_least_float32
from ..arrays.checks import check_kind, check_real
from ..arrays.protocols import GateOps
from ..arrays.registry import backend_of
from ..errors import TensorMoEError, number_from, one_of, positive_integer, positive_number, shape_of
from ..typing import AllReduce, Array
from .call import nothing_to_reduce

# The multiple of their mean that weights are clipped at, and the mean they are divided by, as published.
PRESETS: dict[str, tuple[float, str]] = {"language": (10.0, "feature"), "vision": (1.5, "global")}
DISPERSIONS = ("mad", "std")
NORMALIZATIONS = ("feature", "global")
# Bounds the memory of deviations from all centres: this many clusters × tokens × features.
_CLUSTERS_AT_ONCE = 8


@dataclass(frozen=True)
class FeatureWeights:
    """How dispersions become weights.

    Args:
        dispersion: "mad", the mean absolute deviation, or "std", the standard deviation.
        clamp: weights are clipped at this multiple of the mean of all weights.
        normalization: "feature" divides each feature's weights by their mean over the clusters; "global"
            divides all weights by the mean that they had before clipping.
        eps: ε, added to every dispersion.
        shrinkage: a cluster with fewer tokens than this is filled up to this number with the dispersion
            within all clusters, so a single token, whose dispersion is 0, cannot outweigh the rest. In the
            means it counts by the share that is its own tokens, so an empty cluster does not count. Clusters
            of at least this many tokens are weighed as published.
    """

    dispersion: str
    clamp: float
    normalization: str
    eps: float
    shrinkage: float

    def of_clusters(self, ops: GateOps, mass: Array, deviation: Array) -> Array:
        """The weights of every cluster's features (K, d), all 1 while there are no tokens.

        Args:
            ops: the backend object.
            mass: N_k (K,).
            deviation: Σ_t a_tk |h_tq − μ_kq|, or of the squares for "std" (K, d).
        """
        spread = per_token(ops, mass, deviation)
        mass = mass[:, None]
        missing = ops.clip(self.shrinkage - mass, 0)
        filled = ops.where(mass + missing > 0, mass + missing, mass * 0 + 1)
        # The share of a cluster that is its own tokens: its weight in the means.
        share = mass / filled
        shares = ops.sum(share)
        total = ops.where(shares > 0, shares, shares + 1)

        pooled = ops.sum(deviation, axis=0, keepdims=True) / ops.where(shares > 0, ops.sum(mass), shares + 1)
        if self.dispersion == "std":
            # Rounding can leave a sum of squares just below 0.
            spread, pooled = ops.sqrt(ops.clip(spread, 0)), ops.sqrt(ops.clip(pooled, 0))
        weights = 1 / (share * spread + (1 - share) * pooled + self.eps)
        mean = ops.sum(share * weights) / (total * deviation.shape[1])
        if self.clamp < inf:
            weights = ops.minimum(weights, self.clamp * mean)
        if self.normalization == "feature":
            mean = ops.sum(share * weights, axis=0, keepdims=True) / total
        return ops.where(shares > 0, weights / ops.where(mean > 0, mean, 1.0), 1.0)


def feature_weights(
    preset: str,
    dispersion: str,
    clamp: float | None,
    normalization: str | None,
    eps: float,
    shrinkage: float,
) -> FeatureWeights:
    """Check the options; the preset fills in those that are None."""
    one_of("preset", preset, tuple(PRESETS))
    one_of("dispersion", dispersion, DISPERSIONS)
    published_clamp, published_normalization = PRESETS[preset]
    chosen = published_normalization if normalization is None else normalization
    one_of("normalization", chosen, NORMALIZATIONS)
    return FeatureWeights(
        dispersion,
        number_from(1, "clamp", published_clamp if clamp is None else clamp),
        chosen,
        positive_number("eps", eps),
        number_from(0, "shrinkage", shrinkage),
    )


def per_token(ops: GateOps, mass: Array, sums: Array) -> Array:
    """The mean over every cluster (K, d), from its mass (K,) and sum (K, d); 0 for an empty cluster."""
    mass = mass[:, None]
    return sums / ops.where(mass > 0, mass, mass * 0 + 1)


def gather_clusters(ops: GateOps, h: Array, a: Array, all_reduce: AllReduce) -> list[Array]:
    """The mass (K,) and the sum of features (K, d) of every cluster, over all tokens and processes."""
    # About the mean of all tokens, of which sums of numbers far from 0 lose less.
    mass, origin = _sum(ops, a), _mean(ops, h)
    total = ops.sum_products(a, h - origin) + mass[:, None] * origin
    return [all_reduce(mass), all_reduce(total)]


def deviations(
    ops: GateOps, h: Array, a: Array, mean: Array, dispersion: str, hard: bool, all_reduce: AllReduce
) -> Array:
    """Σ_t a_tk |h_tq − μ_kq|, or of the squares for "std" (K, d), over all tokens and processes.

    Args:
        ops: the backend object.
        h: (…, d).
        a: (…, K).
        mean: μ (K, d).
        dispersion: "mad" or "std".
        hard: whether every row of a is a unit vector, which saves the deviations from other centres.
        all_reduce: sums an array over processes.
    """
    if hard:
        distance = h - ops.matmul(a, mean)
        distance = ops.abs(distance) if dispersion == "mad" else distance * distance
        return all_reduce(ops.sum_products(a, distance))
    if dispersion == "std":
        # Expand about the mean of all tokens, to avoid cancellation.
        origin = _mean(ops, h)
        h, mean = h - origin, mean - origin
        mass = _sum(ops, a)[:, None]
        crossed = ops.sum_products(a, h) * mean
        return all_reduce(ops.sum_products(a, h * h) - 2 * crossed + mass * mean * mean)
    parts = []
    for start in range(0, mean.shape[0], _CLUSTERS_AT_ONCE):
        some = slice(start, start + _CLUSTERS_AT_ONCE)
        distance = ops.abs(h[..., None, :] - mean[some, :])
        parts.append(ops.sum_leading(a[..., some, None] * distance, len(a.shape) - 1))
    return all_reduce(ops.concatenate(parts, axis=0))


def _mean(ops: GateOps, h: Array) -> Array:
    """The mean of all tokens (d,), 0 of none."""
    return _sum(ops, h) / max(prod(h.shape[:-1]), 1)


def _sum(ops: GateOps, array: Array) -> Array:
    """The sum of all tokens' vectors."""
    return ops.sum_leading(array, len(array.shape) - 1)


def one_hot(ops: GateOps, labels: Array, like: Array, clusters: int) -> Array:
    """Unit vectors (…, K) of labels (…), in the element type of another array."""
    return ops.cast(labels[..., None] == ops.positions(clusters, labels), ops.dtype_name(like))


def adaptive_clustering_weights(
    h: Array,
    previous: Array,
    preset: str = "language",
    *,
    dispersion: str = "mad",
    clamp: float | None = None,
    normalization: str | None = None,
    eps: float = 1e-4,
    shrinkage: float = 2.0,
    clusters: int | None = None,
    all_reduce: AllReduce | None = None,
) -> Array:
    """The feature weights of every token, from the clusters of this batch of tokens.

    Use it to build your own router; `AdaptiveClustering` is the ready-made one.

    Args:
        h: the router's inputs (T, d), floating point.
        previous: the previous layer's coefficients (T, K), each row summing to 1; or labels (T,), the index
            of each token's cluster.
        preset, dispersion, clamp, normalization, eps, shrinkage: as for `AdaptiveClustering`.
        clusters: K, which must be given if labels are traced; by default the largest label plus 1.
        all_reduce: sums an array over all processes that share the batch.

    Returns:
        Weights (T, d), of h's framework and element type, constants of differentiation: a router's logits
        are (weights ∗ h) G. With the preset "language", uniform coefficients give weights of 1.

    Raises:
        TensorMoEError: wrong shapes or types, a label out of range, or an invalid option.

    Source: Nielsen et al., "Tight Clusters Make Specialized Experts", 2025, section 3, and its published
    code; soft coefficients and `shrinkage` are extensions, without effect on one-hot rows in clusters of two
    tokens and more.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> h = np.array([[0.0, 0.0], [0.5, 2.0], [5.0, 0.0], [7.0, 0.5]])
        >>> tm.adaptive_clustering_weights(h, np.array([0, 0, 1, 1])).round(3)
        array([[1.6, 0.4],
               [1.6, 0.4],
               [0.4, 1.6],
               [0.4, 1.6]])
    """
    ops = backend_of(h)
    check_kind(ops, "h", h)
    reduce = nothing_to_reduce if all_reduce is None else all_reduce
    if not callable(reduce):
        raise TensorMoEError("all_reduce", all_reduce, "pass a function that sums an array over processes")
    check_real(ops, "h", h)
    dtype = ops.dtype_name(h)
    if len(h.shape) != 2:
        raise TensorMoEError("h", tuple(h.shape), "pass inputs (T, d)")
    options = feature_weights(preset, dispersion, clamp, normalization, eps, shrinkage)
    if objection := ops.objection(previous):
        raise TensorMoEError("previous", type(previous), objection)
    if not ops.is_tensor(previous) or len(previous.shape) not in (1, 2) or len(previous) != len(h):
        shape = shape_of(previous)
        remedy = f"pass coefficients ({len(h)}, K) or labels ({len(h)},) of h's framework"
        raise TensorMoEError("previous", shape, remedy)
    computed = at_least_float32(dtype)
    tokens = ops.cast(ops.stop_gradient(h), computed)
    if len(previous.shape) == 1:
        count = _cluster_count(ops, previous, clusters)
    elif "float" in ops.dtype_name(previous):
        count, previous = None, ops.cast(ops.stop_gradient(previous), computed)
    else:
        raise TensorMoEError(
            "previous", ops.dtype_name(previous), "pass floating-point coefficients, or integer labels (T,)"
        )
    return ops.cast(ops.compute_precisely(_weigh, tokens, previous, options, count, reduce), dtype)


def _weigh(
    ops: GateOps, tokens: Array, a: Array, options: FeatureWeights, labels: int | None, all_reduce: AllReduce
) -> Array:
    hard = labels is not None
    if labels is not None:
        a = one_hot(ops, a, tokens, labels)
    mass, total = gather_clusters(ops, tokens, a, all_reduce)
    mean = per_token(ops, mass, total)
    deviation = deviations(ops, tokens, a, mean, options.dispersion, hard, all_reduce)
    return ops.matmul(a, options.of_clusters(ops, mass, deviation))


def _cluster_count(ops: GateOps, labels: Array, clusters: int | None) -> int:
    if "int" not in ops.dtype_name(labels):
        raise TensorMoEError(
            "previous", ops.dtype_name(labels), "pass integer labels, or coefficients (T, K)"
        )
    largest = ops.max(labels)
    known = ops.holds(labels >= 0)
    if known is False:
        raise TensorMoEError("previous", "a negative label", "pass labels that count from 0")
    if clusters is None and known is None:
        raise TensorMoEError("clusters", None, "pass the number of clusters if labels are traced")
    count = int(largest) + 1 if clusters is None else positive_integer("clusters", clusters)
    if known and int(largest) >= count:
        raise TensorMoEError("previous", int(largest), f"labels may go up to clusters - 1 = {count - 1}")
    return count
