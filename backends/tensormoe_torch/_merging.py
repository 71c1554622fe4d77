"""Layers whose experts are merged for each sequence."""

from collections.abc import Sequence

import torch

from tensormoe.layers.checks import check_input, check_types
from tensormoe.layers.merging import run_merged

from ._backend import backend
from ._described import Described


class Merging(Described):
    """A module that can compute with one weight for each sequence."""

    def apply_merged(
        self, x: torch.Tensor, coefficients: Sequence[torch.Tensor] | torch.Tensor
    ) -> torch.Tensor:
        """Compute y[b, t] = W(a[b]) [x[b, t], 1], with one weight for each sequence; see `tm.apply_merged`.

        Use it where the tokens of a sequence share their coefficients: a token then costs as much as in a
        dense layer. The gate does not run, and its hooks see nothing. Under FSDP2, register it by
        `register_fsdp_forward_method(layer, "apply_merged")`.

        Args:
            x: (…, …, I), whose first axes are those of the coefficients.
            coefficients: E tensors (…, N_e), or the only one, of x's type.

        Raises:
            TensorMoEError: as `tm.apply_merged`.

        Examples:
            >>> import tensormoe as tm, torch
            >>> from tensormoe_torch import MuMoE
            >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5), gate=None)
            >>> layer.apply_merged(torch.ones(2, 7, 8), torch.eye(4)[:2]).shape
            torch.Size([2, 7, 6])
        """
        check_input(backend, x, self.spec)
        parameters = self._tensors(self._mixture_groups, x)
        check_types(backend, "parameters", parameters, x)
        y: torch.Tensor = run_merged(backend, self.spec, parameters, x, coefficients)
        return y
