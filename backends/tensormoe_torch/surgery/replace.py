"""Replacing: everything is found, specified and built before the model changes."""

import sys
from collections.abc import Sequence
from functools import partial

from torch import nn

from tensormoe.errors import TensorMoEError, one_of, true_or_false
from tensormoe.fitting.from_dense import STARTS
from tensormoe.gates.gate import Gate
from tensormoe.layers.freezing import check_frozen
from tensormoe.networks.factorization import Factorization

from .exchange import design, exchange
from .find import Where
from .recipe import Build, Recipe
from .report import Replacement, describe


def replace(
    model: nn.Module,
    where: Where,
    *,
    experts: int | tuple[int, ...] | None = None,
    factorization: Factorization | Sequence[Factorization] | None = None,
    gate: Gate | Sequence[Gate] | None = Gate(),
    match: str | None = None,
    init: str = "fresh",
    frozen: bool = False,
    dry_run: bool = False,
    build: Build | None = None,
) -> Replacement[nn.Module]:
    """Replace linear layers and MLPs of a model by μMoE layers and blocks of the same sizes.

    Sizes, bias, nonlinearity, dropout, element type, device and mode are those of what is replaced: an
    `nn.Linear`, transformers' `Conv1D`, an MLP of GPT-2, GPT-J, GPT-NeoX, ViT, CLIP or Phi, a gated one of
    Llama, Mistral, Qwen or Gemma, one of BERT, whose `intermediate` brings the linear layer of `output`
    with it, or an `nn.Sequential` of linear layer, nonlinearity and linear layer. What is shared in the model
    is replaced once and stays shared.

    Nothing is changed if anything fails. Make the optimizer afterwards: the parameters are new. In a model
    of transformers, `config.tensormoe` says what was replaced; see `tensormoe_torch.huggingface`.

    Args:
        model: it is changed in place.
        where: "mlp" for every submodule of this name; "h.[0-5].mlp" for full names that fit a pattern; a
            type, such as `nn.Linear`; or a function of full name and module that says whether to replace it.
        experts, factorization, gate: as for `tm.MuMoESpec` and `tm.MuMoEBlockSpec`.
        match: "parameters" for the largest rank with at most the parameters of what is replaced, "macs" for
            at most its multiply-accumulates a token; None for the rank that the factorization has.
        init: "fresh" for initial values; "upcycle" for experts that start near the weights that are
            replaced and "fit" for experts equal to them, exactly where the ranks allow, as `tm.upcycle`.
            `torch.manual_seed` determines what is random.
        frozen: whether what is replaced stays, as fixed cores W and B, and `factorization` is what experts
            add to it. The model computes what it did, and the added cores learn from there.
        dry_run: whether to leave the model as it is and only report.
        build: a function from the old module to a specification, or to a module, where `experts` and
            `factorization` are not enough.

    Returns:
        What was changed, as a table to print, with `undo()`, and `pairs` for `distill`.

    Raises:
        TensorMoEError: nothing fits `where`, a module that is neither linear nor a known MLP, an unknown
            nonlinearity, a parameter that other modules share, a budget that is too small, weights to
            start from or to freeze that are not known, or a gate that would scale frozen ones.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, for frozen weights.

    Examples:
        >>> import tensormoe as tm, tensormoe_torch
        >>> from torch import nn
        >>> mlp = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
        >>> model = nn.ModuleDict({"norm": nn.LayerNorm(64), "mlp": mlp})
        >>> report = tensormoe_torch.replace(
        ...     model, "mlp", experts=16, factorization=tm.CP(rank=1), match="parameters"
        ... )
        >>> model["mlp"].spec.factorization
        CP(rank=47)
    """
    if not isinstance(model, nn.Module):
        raise TensorMoEError("model", type(model), "pass a torch.nn.Module")
    one_of("init", init, STARTS)
    true_or_false("dry_run", dry_run)
    check_frozen(frozen, init, build)
    designs = design(model, where, Recipe(experts, factorization, gate, match, build, frozen))
    if dry_run:
        return Replacement(tuple(describe(each, each.new) for each in designs))
    return exchange(model, designs, init, partial(_note, model))


def _note(model: nn.Module) -> None:
    """Where transformers is in use, let the model's configuration say what it consists of."""
    if "transformers" in sys.modules:
        from .. import huggingface

        huggingface.record(model)
        huggingface.register()
