"""Statistics over the processes that share a batch, in the manner of `torch.nn.SyncBatchNorm`."""

from typing import Any, TypeVar

from torch import nn

from tensormoe.errors import TensorMoEError, true_or_false

from ._distributed import Processes
from ._gate import GateModule

Model = TypeVar("Model", bound=nn.Module)


def synchronize(model: Model, process_group: Any = None, *, evaluation: bool = False) -> Model:
    """Let all μMoE modules of a model take the statistics of a batch over several processes.

    Use it before `DistributedDataParallel` or `fully_shard`, where `nn.SyncBatchNorm.convert_sync_batchnorm`
    would stand. `norm="batch"` then normalises over the tokens of all processes, in its gradients, too, and
    running statistics are the same everywhere. The statistics of `tm.AdaptiveClustering` are summed over all
    processes in any case; this says over which.

    Every process must make the same calls in training, even if its share of a batch is empty. In evaluation
    nothing is communicated, so one process may evaluate alone.

    Args:
        model: the model, which is changed.
        process_group: of `torch.distributed`: those that share a batch; by default all processes. A pickle
            of the model does not keep it, and the loaded model says so if it trains.
        evaluation: whether `tm.AdaptiveClustering(evaluation="batch")` sums over the processes in
            evaluation, too, in which all must take part then.

    Returns:
        The model.

    Raises:
        TensorMoEError: something else than a module.

    Examples:
        >>> import tensormoe as tm, torch
        >>> import tensormoe_torch
        >>> layer = tensormoe_torch.MuMoE(8, 6, experts=4, factorization=tm.CP(5), gate=tm.Gate(norm="batch"))
        >>> model = tensormoe_torch.synchronize(torch.nn.Sequential(layer, torch.nn.ReLU()))
        >>> model[0].gate.processes.synchronized
        True
    """
    if not isinstance(model, nn.Module):
        raise TensorMoEError("model", type(model), "pass a torch.nn.Module")
    processes = Processes(process_group, True, true_or_false("evaluation", evaluation))
    for module in model.modules():
        if isinstance(module, GateModule):
            module.processes = processes
    return model
