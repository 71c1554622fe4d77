"""Where descent begins: TensorLy's decomposition, where it has one, or random cores."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Thread

import numpy as np

from ..arrays.registry import get_backend
from ..errors import TensorMoEError
from ..layers.initialization import draw_cores
from ..layers.parameters import split_name
from ..layers.stage import Stage
from ..layers.tensorly import from_tensorly
from ..networks.factorization import Factorization
from ..networks.families import CP, TensorRing, TensorTrain, Tucker
from ..typing import NumPyArray

Cores = dict[str, NumPyArray]
# How many starts are tried where none is known to be good.
_STARTS = 3


def starts(stage: Stage, weight: NumPyArray, seed: int) -> Iterator[tuple[str, Cores]]:
    """Cores to begin with, each with a name.

    TensorLy's sweeps of least squares and singular value decompositions end near the best fit; but those of a
    ring keep the first core orthogonal, which few good rings are.
    """
    count = _STARTS
    decomposed = decompose(stage, weight, seed)
    if decomposed is not None:
        yield "TensorLy", decomposed
        count = _STARTS - 1 if isinstance(stage.factorization, TensorRing) else 0
    for number in range(count):
        yield "random", draw_like(stage, weight, seed + number)


def draw_like(stage: Stage, weight: NumPyArray, seed: int) -> Cores:
    """Initial values as a layer's, as large as the weight."""
    cores = draw_cores(stage, seed)
    ops = get_backend("numpy")
    drawn = ops.compute(stage.materialization_plan.program, (), [*cores.values()])
    ratio = np.linalg.norm(weight) / (np.linalg.norm(drawn) or 1.0)
    trained = stage.network.trained
    factor = (ratio or 1.0) ** (1 / sum(core.name in trained for core in stage.network.cores))
    return {name: core * factor if name in trained else core for name, core in cores.items()}


def decompose(stage: Stage, weight: NumPyArray, seed: int) -> Cores | None:
    """TensorLy's decomposition as cores; None if it has none of this kind or size."""
    algorithm = _choose(stage.factorization, weight, seed)
    if algorithm is None:
        return _decompose_as_cp(stage, weight, seed)
    try:
        cores = from_tensorly(stage, _compute(algorithm))
    except (TensorMoEError, ValueError, IndexError, np.linalg.LinAlgError):
        # It refuses ranks that exceed what the modes can use, or gives smaller ones.
        return None
    if not all(np.isfinite(core).all() for core in cores.values()):
        return None
    return {split_name(name)[1]: core for name, core in cores.items()}


def _decompose_as_cp(stage: Stage, weight: NumPyArray, seed: int) -> Cores | None:
    """What CP has, for a notation that is CP in other words; None for anything else."""
    network = stage.network
    if isinstance(stage.factorization, CP) or len(network.bonds) != 1 or network.counts or network.held:
        return None
    ((bond, rank),) = network.bonds
    carriers = {index: core for core in network.cores for index in core.indices if index != bond}
    joined = all(len(core.indices) == 2 and bond in core.indices for core in network.cores)
    if not joined or len(network.cores) != len(carriers) or {*carriers} != {*network.modes}:
        return None
    same = replace(stage, factorization=CP(rank))
    cores = decompose(same, weight, seed)
    if cores is None:
        return None
    renamed = {}
    for mode, core in zip(network.modes, same.network.cores, strict=True):
        turned = core.indices.index(mode) != carriers[mode].indices.index(mode)
        renamed[carriers[mode].name] = cores[core.name].T.copy() if turned else cores[core.name]
    return {name: renamed[name] for name in network.shapes}


def _choose(family: Factorization, weight: NumPyArray, seed: int) -> Callable[[], object] | None:
    """TensorLy's algorithm for a family."""
    from tensorly.decomposition import tensor_ring, tensor_train, tucker

    match family:
        case CP(rank):
            return lambda: _sweep(weight, rank, seed)
        case Tucker(ranks) if all(rank <= size for rank, size in zip(ranks, weight.shape, strict=True)):
            return lambda: tucker(weight, rank=[*ranks], tol=1e-8)
        case TensorTrain(ranks):
            return lambda: tensor_train(weight, rank=[1, *ranks, 1])
        case TensorRing(ranks):
            return lambda: tensor_ring(weight, rank=[*ranks, ranks[0]])
    return None


def _sweep(weight: NumPyArray, rank: int, seed: int) -> object:
    """A CP decomposition; modes have no more singular vectors than their size to begin with."""
    from tensorly.decomposition import parafac

    init = "svd" if rank <= min(weight.shape) else "random"
    return parafac(weight, rank, n_iter_max=200, init=init, random_state=np.random.RandomState(seed % 2**32))


def _compute(algorithm: Callable[[], object]) -> object:
    """What TensorLy computes with NumPy, whatever backend the process has chosen.

    A backend can be set for a thread, but not set back without changing that of all others. So the thread is
    our own, and ends.
    """
    import tensorly

    results: list[object] = []
    errors: list[Exception] = []

    def run() -> None:
        tensorly.set_backend(get_backend("numpy"), local_threadsafe=True)
        try:
            with np.errstate(all="ignore"):
                results.append(algorithm())
        except Exception as error:
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
