"""Quantize the cores of layers by torchao, which by itself looks for linear layers."""

from typing import Any

from torch import nn

from tensormoe.errors import TensorMoEError

from ._containers import TensorGroup
from ._quantized import check_quantized, is_quantized


def quantize_cores(model: nn.Module, config: Any) -> tuple[str, ...]:
    """Quantize the cores of every layer in a model by torchao, to keep them in less memory.

    torchao's `quantize_` looks for `nn.Linear`: it passes over cores and says nothing. Call this beside it.
    Cores are kept quantized and multiplied out whenever a layer computes, so the memory of the model shrinks
    and its speed does not grow. Gates and norms stay as they are: they are small, and decide. Convert the
    model to another type, such as bfloat16, before: afterwards cores keep theirs.

    Args:
        model: a layer, or a model with layers in it.
        config: of torchao, for weights only, such as `Int8WeightOnlyConfig()`; one that torchao gives to
            parameters.

    Returns:
        The full names of the cores, all of which are quantized; fixed ones are not.

    Raises:
        TensorMoEError: torchao is not installed; a model without layers; a core that is quantized already,
            pruned or parametrized, or that torchao cannot quantize so, or leaves as it is; a configuration
            that quantizes activations, too. Nothing is changed then.

    Examples:
        >>> import tensormoe as tm
        >>> from importlib.util import find_spec
        >>> from tensormoe_torch import MuMoE, quantize_cores
        >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> if find_spec("torchao"):
        ...     from torchao.quantization import Int8WeightOnlyConfig
        ...     assert quantize_cores(layer, Int8WeightOnlyConfig())[0] == "cores.expert1"
    """
    _import_torchao()
    if not isinstance(model, nn.Module):
        raise TensorMoEError("model", type(model), "pass a torch.nn.Module")
    cores = [
        (f"{path}.{name}".removeprefix("."), group, name)
        for path, group in model.named_modules()
        if isinstance(group, TensorGroup) and group.prefix in group.spec.layers
        for name, _ in group.items()
        if name not in group._buffers
    ]
    if not cores:
        raise TensorMoEError("model", type(model), "it has no μMoE layers: torchao's quantize_ is enough")
    values = [_quantize(full, group, name, config) for full, group, name in cores]
    for (_, group, name), value in zip(cores, values, strict=True):
        setattr(group, name, value)
    return tuple(full for full, _, _ in cores)


def _import_torchao() -> Any:
    try:
        import torchao.quantization
    except ImportError as error:
        raise TensorMoEError("torchao", None, 'pip install "torchao>=0.18"') from error
    return torchao.quantization


def _quantize(full: str, group: TensorGroup, name: str, config: Any) -> nn.Parameter:
    """A core as torchao quantizes it; the group keeps its own."""
    core = group._parameters.get(name)
    if core is None or is_quantized(core):
        state = "pruned or parametrized" if core is None else "quantized already"
        raise TensorMoEError(full, type(core), f"it is {state}: undo that first")
    # torchao puts the result where it finds the parameter.
    alone = nn.Module()
    alone.register_parameter("core", core)
    torchao = _import_torchao()
    try:
        torchao.quantize_(alone, torchao.FqnToConfig({"core": config}), filter_fn=None)
    except Exception as error:  # of torchao, which has no kind of its own
        reason = " ".join(str(error).split())[:200]
        raise TensorMoEError("config", config, f"torchao cannot quantize {full} so: {reason}") from error
    value = alone.get_parameter("core")
    if not is_quantized(value):
        remedy = f"torchao leaves {full} of shape {tuple(core.shape)} as it is: pass one that fits its sizes"
        raise TensorMoEError("config", config, remedy)
    check_quantized(full, value)
    return value
