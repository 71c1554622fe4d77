"""Structured experts as one writes them by hand in PyTorch: a batched product for each core."""

import torch


def block_train(x: torch.Tensor, a: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A block tensor train for each expert: left (N, i1, i2, o1, R), right (o1, N, i1, R, o2).

    Monarch is the same at R = 1, without that axis. Of one expert, its coefficient multiplies x.
    """
    tokens, (experts, first, second, blocks) = len(x), left.shape[:4]
    rank = left[0, 0, 0, 0].numel()
    own = (a[:, :, None] * x[:, None]).view(tokens, experts * first, second).transpose(0, 1)
    inner = torch.bmm(own, left.reshape(experts * first, second, blocks * rank))
    inner = inner.view(experts * first, tokens, blocks, rank).permute(2, 1, 0, 3)
    inner = inner.reshape(blocks, tokens, experts * first * rank)
    outer = torch.bmm(inner, right.reshape(blocks, experts * first * rank, -1))
    return outer.transpose(0, 1).reshape(tokens, -1)


def shared_block_train(
    x: torch.Tensor, a: torch.Tensor, core: torch.Tensor, left: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """One block tensor train for all experts: core (N, R), left (i1, R, i2, o1), right (o1, i1, R, o2)."""
    tokens, (first, rank, second, blocks) = len(x), left.shape
    mixed = a @ core
    own = (x.view(tokens, first, 1, second) * mixed[:, None, :, None]).view(tokens, first * rank, second)
    inner = torch.bmm(own.transpose(0, 1), left.reshape(first * rank, second, blocks))
    outer = torch.bmm(inner.permute(2, 1, 0), right.reshape(blocks, first * rank, -1))
    return outer.transpose(0, 1).reshape(tokens, -1)
