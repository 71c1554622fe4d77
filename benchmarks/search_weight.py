"""A search for a layer of a weight of GPT-2's size: experts that share a part, with a little noise.

    python -m benchmarks.search_weight                               # 768 × 3072, four experts
    python -m benchmarks.search_weight --inputs 24 --hidden 96 --shared 4 --own 1 --parameters 1000

The weights are drawn: a matrix of rank `shared` that all experts have, one of rank `own` for each, and noise
of a hundredth of their size. So the least error that any network can have here is near 0.01.
"""

import argparse
import time

import numpy as np

import tensormoe as tm
from tensormoe import explore
from tensormoe.typing import NumPyArray

NOISE = 0.01


def draw(inputs: int, hidden: int, experts: int, shared: int, own: int, seed: int = 0) -> NumPyArray:
    """The experts' weights (N, I, O)."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(inputs, shared)) @ generator.normal(size=(shared, hidden)) / shared**0.5
    each = generator.normal(size=(experts, inputs, own)) @ generator.normal(size=(experts, own, hidden))
    stack: NumPyArray = common + each / own**0.5
    stack += NOISE * stack.std() * generator.normal(size=stack.shape)
    return stack


def main() -> None:
    parser = argparse.ArgumentParser(description="a search for a layer of a weight of GPT-2's size")
    parser.add_argument("--inputs", type=int, default=768)
    parser.add_argument("--hidden", type=int, default=3072)
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--shared", type=int, default=64)
    parser.add_argument("--own", type=int, default=16)
    parser.add_argument("--parameters", type=int, default=500_000)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=50)
    given = parser.parse_args()
    stack = draw(given.inputs, given.hidden, given.experts, given.shared, given.own)
    layer = tm.MuMoESpec(given.inputs, given.hidden, given.experts, tm.Dense(), gate=None, bias=False)
    space = explore.Space(
        layer, max_cores=4, ranks=(given.own, given.shared), hyperedges=0, latent=0, carriers=("n",), sums=2
    )
    budget, task = (
        explore.Budget(parameters=given.parameters),
        explore.fit_to(stack, iterations=given.iterations),
    )
    began = time.process_time()
    study = explore.search(budget, task, space, trials=given.trials, progress=True)
    for trial in study.trials:
        error = trial.values.get("error", np.nan)
        print(f"{error:.4f} {trial.spec.num_parameters:,} {trial.spec.factorization} {trial.seconds:.0f} s")
    print(f"{time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    main()
