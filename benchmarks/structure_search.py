"""Planted networks: how many candidates each method of search tries until it has found one as small.

The protocol of the papers on structure search: a network with random cores is multiplied out, and a search
that sees only the tensor is to find its topology and ranks, or a smaller one of equal error. All methods
share the space, the score (parameters relative to the tensor's size, and LAMBDA times the relative error) and
the fit; they start from nothing. A candidate counts once, however it is written.

    python -m benchmarks.structure_search            # all of it, into benchmarks/structure_search.json
    python -m benchmarks.structure_search --seeds 1 --only CP --methods guided,random
    python -m benchmarks.structure_search --table    # what the docs show

Source: Li and Sun, "Evolutionary Topology Search for Tensor Network Decomposition", 2020 (TNGA); Li et al.,
"Alternating Local Enumeration (TnALE)", 2023; Hashemizadeh et al., "Adaptive Tensor Learning with Tensor
Networks", 2020 (TNGreedy).
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

import tensormoe as tm
from tensormoe.exploring.bounds import Bounds
from tensormoe.exploring.candidate import decode
from tensormoe.exploring.guided import Outlook
from tensormoe.exploring.layout import Layout
from tensormoe.exploring.methods import METHODS, Proposals, Setting, draw
from tensormoe.exploring.parallel import each_result
from tensormoe.exploring.space import Point, Space
from tensormoe.exploring.tasks import fit_to
from tensormoe.typing import NumPyArray

# By problem and method, the counts over seeds.
Results = dict[str, dict[str, list[int | None]]]

RESULTS = Path(__file__).with_suffix(".json")
LAMBDA = 100.0
# Other seeds served to choose numbers of starts and climbs: what is reported comes from these.
FRESH = 10
# So many networks a method may try.
MOST = 30
# A fit with this relative error is equal to the planted network.
EXACT = 1e-4
# Steps of a fit: networks that are large enough take half as many.
ITERATIONS = 40
# TNGA: networks in a generation, those that stay, and the chance that a coordinate mutates.
POPULATION, KEPT, MUTATION = 20, 6, 0.08


@dataclass(frozen=True)
class Problem:
    """A planted network, and the limits of the space in which it is to be found."""

    name: str
    notation: str
    sizes: dict[str, int]
    experts: tuple[int, ...]
    features: tuple[int, int]
    limits: dict[str, object] = field(default_factory=dict)

    @property
    def layer(self) -> tm.MuMoESpec:
        splits = self.limits.get("splits", {})
        parts = {mode: several[0] for mode, several in splits.items()} if isinstance(splits, dict) else {}
        network = tm.TensorNetwork.with_sizes(self.notation, self.sizes, None, parts)
        return tm.MuMoESpec(*self.features, self.experts, network, gate=None, bias=False)

    @property
    def space(self) -> Space:
        graph = {"hyperedges": 0, "latent": 0, "carriers": False}
        return Space(self.layer, max_cores=6, ranks=4, **{**graph, **self.limits})  # type: ignore[arg-type]

    def target(self, seed: int) -> NumPyArray:
        """The planted tensor; cores from N(0, 1)."""
        generator = np.random.default_rng(seed)
        shapes = self.layer.network.shapes
        cores = {name: generator.normal(size=shape) for name, shape in shapes.items()}
        weight: NumPyArray = tm.materialize(self.layer, cores)
        return weight


def _bonds(text: str, **sizes: int) -> dict[str, int]:
    return {bond: sizes.get(bond, 2) for bond in text}


FOUR, SIX = ((4, 4), (4, 4)), ((3, 3, 3, 3), (3, 3))
PROBLEMS = (
    Problem("train, 4 cores", "n1 a, n2 a b, i b c, o c", {"a": 2, "b": 3, "c": 2}, *FOUR),
    Problem("ring, 4 cores", "n1 a b, n2 b c, i c d, o d a", _bonds("abcd"), *FOUR),
    Problem("ring out of order", "n1 a b, i b c, n2 c d, o d a", _bonds("abcd"), *FOUR),
    Problem("star, 4 cores", "n1 a, n2 b, i c, o a b c", _bonds("abc"), *FOUR),
    Problem("graph, 5 cores", "n1 a b, n2 a c, n3 b c d, i d e, o e", _bonds("abcde"), (3, 3, 3), (4, 4)),
    Problem("train, 6 cores", "n1 a, n2 a b, n3 b c, n4 c d, i d e, o e", _bonds("abcde"), *SIX),
    Problem("ring, 6 cores", "n1 a b, n2 b c, n3 c d, n4 d e, i e f, o f a", _bonds("abcdef"), *SIX),
    Problem("tree, 6 cores", "n1 a, n2 a b, n3 b c d, n4 c, i d e, o e", _bonds("abcde"), *SIX),
    Problem("CP", "n r, i r, o r", {"r": 3}, (5,), (6, 5), {"hyperedges": 1}),
    Problem("Tucker", "n1 a, n2 b, i c, o d, a b c d", _bonds("abcd"), *FOUR, {"latent": 1}),
    Problem(
        "hierarchical, 6 cores", "n1 a, n2 b, i c, o d, a b e, c d e", _bonds("abcde"), *FOUR, {"latent": 2}
    ),
    Problem("block term", "n r, i r s, o r s", _bonds("rs"), (6,), (6, 6), {"hyperedges": 1}),
    Problem("Mixture of Decoders", "n o, i o", {}, (6,), (6, 6), {"carriers": True, "hyperedges": 1}),
    Problem("sum", "i o + n a, i b, o a b", _bonds("ab"), (6,), (6, 6), {"sums": 2, "carriers": True}),
    Problem(
        "Kronecker",
        "n i1 o1, i2 o2 n",
        {},
        (4,),
        (4, 6),
        {"splits": {"i": [(2, 2)], "o": [(3, 2)]}, "carriers": True},
    ),
)


class Scorer:
    """The score of points, each network fitted once: the same numbers for all methods.

    Args:
        space: of the points.
        target: the tensor.
        seed: of the starts.
    """

    def __init__(self, space: Space, target: NumPyArray, seed: int) -> None:
        self.space, self.target, self.seed = space, target, seed
        self.task = fit_to(target, iterations=ITERATIONS)
        self.values: dict[str, tuple[float, int]] = {}

    def fit(self, point: Point) -> tuple[str, float, int] | None:
        """The key, the error and the parameters of the network at a point; None if there is none."""
        candidate = decode(self.space, point)
        if candidate is None:
            return None
        if candidate.key not in self.values:
            fitted = self.task(candidate.spec, self.seed).value
            error = np.inf if fitted is None else fitted
            self.values[candidate.key] = error, candidate.spec.network.num_parameters
        return (candidate.key, *self.values[candidate.key])


def look_at(space: Space, target: NumPyArray | None) -> Callable[[list[Point]], Outlook]:
    """What a method knows of points: their costs, and bounds if it is shown the target."""
    bounds = None if target is None else Bounds(space, target)

    def look(points: list[Point]) -> Outlook:
        layout = Layout.of(space, points)
        tails = np.zeros((len(points), 1)) if bounds is None else bounds.tails(layout)
        scores = layout.parameters / 1e6 if target is None else layout.parameters / target.size
        scores = scores + LAMBDA * tails.max(axis=1)
        scores[layout.cores > space.max_cores] = np.inf
        return Outlook(scores, tails.mean(axis=1), layout.parameters, layout.rows)

    return look


def genetic(setting: Setting) -> Proposals:
    """TNGA's loop: generations, of which the best stay and have children that mutate."""
    generator, space = setting.generator, setting.space
    people = [draw(setting) for _ in range(POPULATION)]
    while True:
        scores = yield people
        order = np.argsort(scores)
        parents = [people[place] for place in order[:KEPT]]
        chances = np.log(1 + KEPT / np.arange(1, KEPT + 1))
        children: list[Point] = []
        while len(children) < POPULATION - KEPT:
            one, other = generator.choice(KEPT, size=2, p=chances / chances.sum())
            mixed = np.where(generator.random(len(parents[0])) < 0.5, parents[one], parents[other])
            drawn = [int(generator.integers(len(each.choices))) for each in space.coordinates]
            mutated = np.where(generator.random(len(mixed)) < MUTATION, drawn, mixed)
            children.append(tuple(map(int, mutated)))
        people = [*parents, *children]


LOOPS: dict[str, Callable[[Setting], Proposals]] = {
    "guided": METHODS["guided"],
    "greedy": METHODS["greedy"],
    "TnALE": METHODS["alternating"],
    "TNGA": genetic,
    "random": METHODS["random"],
}


def count(name: str, problem: Problem, scorer: Scorer, seed: int, most: int) -> int | None:
    """How many networks a method tries until it has found one as good as the planted; None if it does not."""
    target = scorer.target if name == "guided" else None
    look = look_at(scorer.space, target)
    setting = Setting(scorer.space, look, np.random.default_rng([seed, 1]))  # type: ignore[arg-type]
    seen: set[str] = set()
    proposals = LOOPS[name](setting)
    planted = problem.layer.network.num_parameters
    points = next(proposals, None)
    for _ in range(100 * most):
        if points is None:
            return None
        scores = []
        for point in points:
            fitted = scorer.fit(point)
            if fitted is None:
                scores.append(np.inf)
                continue
            key, error, parameters = fitted
            seen.add(key)
            if error < EXACT and parameters <= planted:
                return len(seen)
            if len(seen) >= most:
                return None
            scores.append(parameters / scorer.target.size + LAMBDA * error)
        try:
            points = proposals.send(scores)
        except StopIteration:
            return None
    return None


def run(problem: Problem, methods: tuple[str, ...], seeds: range, most: int) -> dict[str, list[int | None]]:
    """For each method, the counts over seeds; None for not found."""
    counts: dict[str, list[int | None]] = {name: [] for name in methods}
    for seed in seeds:
        scorer = Scorer(problem.space, problem.target(seed), seed)
        for name in methods:
            counts[name].append(count(name, problem, scorer, seed, most))
    return counts


def tell(counts: list[int | None] | None, most: int) -> str:
    """How often it was found, and the median number of networks until then."""
    if counts is None:
        return "–"
    found = [each for each in counts if each is not None]
    middle = median(most + 1 if each is None else each for each in counts)
    return f"{len(found)} of {len(counts)}: {f'{middle:g}' if middle <= most else f'> {most}'}"


def show(results: Results) -> str:
    """The table of the docs."""
    rows = [
        (problem.name, *(tell(results[problem.name].get(name), MOST) for name in LOOPS))
        for problem in PROBLEMS
        if problem.name in results
    ]
    lines = [f"| {' | '.join(line)} |" for line in (("planted", *LOOPS), ["---"] * (1 + len(LOOPS)), *rows)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="planted networks, and how soon they are found")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first", type=int, default=FRESH, help="the first seed")
    parser.add_argument("--methods", default=",".join(LOOPS))
    parser.add_argument("--only", default="", help="problems whose name begins so")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    results: Results = json.loads(given.out.read_text()) if given.out.exists() else {}
    if not given.table:
        problems = [each for each in PROBLEMS if each.name.startswith(given.only)]
        seeds = range(given.first, given.first + given.seeds)
        call = partial(_run, methods=tuple(given.methods.split(",")), seeds=seeds)
        for name, counts in each_result(call, problems, given.jobs):
            results[name] = results.get(name, {}) | counts
            given.out.write_text(json.dumps(results, indent=1) + "\n")
            print(name, {method: tell(each, MOST) for method, each in counts.items()}, flush=True)
    print(show(results))


def _run(problem: Problem, methods: tuple[str, ...], seeds: range) -> tuple[str, dict[str, list[int | None]]]:
    return problem.name, run(problem, methods, seeds, MOST)


if __name__ == "__main__":
    main()
