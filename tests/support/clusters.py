"""Tokens in clusters, and the feature weights of adaptive clustering, written out in NumPy."""

from dataclasses import dataclass

import numpy as np

PRESETS = {"language": (10.0, "feature"), "vision": (1.5, "global")}


def weights_by_formula(
    h: np.ndarray, a: np.ndarray, preset: str, dispersion: str = "mad", shrinkage: float = 2.0
) -> np.ndarray:
    """Cluster by cluster, over the clusters that have tokens."""
    clamp, normalization = PRESETS[preset]
    masses, spreads = [], []
    for k in range(a.shape[1]):
        mass = sum(a[:, k])
        centre = sum(a[t, k] * h[t] for t in range(len(h))) / mass if mass else h[0] * 0
        power = 1 if dispersion == "mad" else 2
        spread = sum(a[t, k] * abs(h[t] - centre) ** power for t in range(len(h)))
        masses.append(mass)
        spreads.append(spread)
    root = (lambda v: v) if dispersion == "mad" else np.sqrt
    pooled = root(sum(spreads) / sum(masses))
    weights, shares = {}, {}
    for k, (mass, spread) in enumerate(zip(masses, spreads, strict=True)):
        if mass == 0:
            continue
        missing = max(shrinkage - mass, 0)
        filled = (mass * root(spread / mass) + missing * pooled) / (mass + missing)
        weights[k] = 1 / (filled + 1e-4)
        shares[k] = mass / (mass + missing)
    mean = sum(shares[k] * w.mean() for k, w in weights.items()) / sum(shares.values())
    weights = {k: np.minimum(w, clamp * mean) for k, w in weights.items()}
    if normalization == "feature":
        mean = sum(shares[k] * w for k, w in weights.items()) / sum(shares.values())
    return np.stack([sum(a[t, k] * w / mean for k, w in weights.items()) for t in range(len(a))])


@dataclass(frozen=True)
class Tokens:
    h: np.ndarray
    labels: np.ndarray
    soft: np.ndarray


def tokens(count: int = 24, features: int = 6, clusters: int = 4, seed: int = 0) -> Tokens:
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(clusters), np.arange(clusters)])
    labels = np.concatenate([labels, generator.integers(clusters, size=count - len(labels))])
    scales = generator.uniform(0.1, 3, size=(clusters, features))
    centres = 5 * generator.normal(size=(clusters, features))
    h = centres[labels] + scales[labels] * generator.normal(size=(count, features))
    return Tokens(h, labels, generator.dirichlet(np.ones(clusters) / 2, size=count))
