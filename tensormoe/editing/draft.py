"""A layer while it is edited: its cores in float64, and what is added beside them."""

from collections.abc import Mapping, Sequence

import numpy as np
import opt_einsum

from ..errors import TensorMoEError
from ..gates.steering import Sharing
from ..layers.parts import with_whole_modes
from ..layers.rows import place_rows
from ..layers.stage import Stage
from ..memory import check_memory, host_memory
from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..typing import NumPyArray, Shape
from .pieces import Piece, combine, factor, join, one_hot
from .reading import Place

# So many pieces are kept apart.
_FEW = 8


class Draft:
    """One layer's weight as edits change it.

    An edit that makes the weights of experts sums of one another changes rows of a core where one core tells
    these experts from all others. Everything else is a piece beside the network.

    Args:
        stage: the layer.
        cores: by name, in float64; they stay as they are.
    """

    def __init__(self, stage: Stage, cores: Mapping[str, NumPyArray]) -> None:
        self.stage = stage
        self.cores = dict(cores)
        self.changed: set[str] = set()
        self.pieces: list[Piece] = []
        self._most = _FEW

    @property
    def experts(self) -> Shape:
        """N1, …, NE."""
        return self.stage.experts

    @property
    def rows(self) -> int:
        """I+1: a matrix has a row for the bias at last, whether the network has one or not."""
        return self.stage.in_features + 1

    def split(self, step: Sharing) -> None:
        """Make several experts of one of a level, if it has any: the others come after all."""
        if not self.stage.experts:
            return
        mode = expert_modes(self.stage.levels)[step.level]
        for name in self.stage.network.shapes:
            uses = [core.indices for core in self.stage.network.cores if core.name == name]
            axes = {indices.index(mode) if mode in indices else None for indices in uses}
            for axis in axes - {None}:
                core = self.cores[name]
                copied = np.repeat(np.take(core, [step.expert], axis), step.added, axis)
                self.cores[name] = np.concatenate([core, copied], axis)
                self.changed.add(name)
        self.pieces = [piece.split(step.level, step.expert, step.copies) for piece in self.pieces]

    def refit(self, stage: Stage) -> None:
        """Take the layer's stage after its experts were split.

        Raises:
            TensorMoEError: its cores have other shapes, as that of a core which is used elsewhere, too.
        """
        self.stage = stage
        for name, shape in stage.network.shapes.items():
            if self.cores[name].shape != shape:
                remedy = f"the core {name} of {stage.network} does not grow by one row for each expert"
                raise TensorMoEError("factorization", self.cores[name].shape, remedy)

    def mix(self, places: Sequence[Place], matrix: NumPyArray) -> None:
        """Give the k-th of these experts the weight Σ_l matrix[k, l] W[places[l]]."""
        self.pieces = [each for piece in self.pieces for each in piece.mix(places, matrix)]
        self._gather()
        for term in self.stage.network.terms:
            core = self._find_carrier(term, several=len(places) > 1)
            if core is None:
                self._mix_beside(term, places, matrix)
            else:
                self._mix_rows(core, places, matrix)

    def add_matrix(self, place: Place, matrix: NumPyArray) -> None:
        """Add a matrix (I[+1], O) to an expert's weight."""
        self.add_factors(place, *factor(matrix))

    def add_factors(self, place: Place, left: NumPyArray, right: NumPyArray) -> None:
        """Add a product to an expert's weight."""
        self.add_everywhere(one_hot(place, self.experts), left, right)

    def add_everywhere(self, levels: tuple[NumPyArray, ...], left: NumPyArray, right: NumPyArray) -> None:
        """Add a product to the weight of every expert, times the product of its numbers on all levels."""
        if left.shape[1]:
            self.pieces.append(Piece(levels, left, right))
            self._gather()

    def bias_factors(self, output: int, value: float) -> tuple[NumPyArray, NumPyArray]:
        """The factors of a matrix that has a value for the bias of one output and is zero elsewhere."""
        count = self.stage.out_features
        if output >= count:
            raise TensorMoEError("output", output, f"the layer has {count} outputs, which are counted from 0")
        return np.eye(1, self.rows, self.rows - 1).T, value * np.eye(1, count, output)

    def fit_rows(self, argument: str, matrix: NumPyArray, columns: int) -> NumPyArray:
        """A matrix with a row for the bias, zero if it is left out."""
        heights = self.stage.in_features, self.rows
        if matrix.shape[0] not in heights or matrix.shape[1] != columns:
            shapes = " or ".join(str((height, columns)) for height in heights)
            transposed = matrix.shape[::-1] == (self.stage.in_features, columns)
            hint = "it is transposed, as nn.Linear keeps it: " if transposed else ""
            raise TensorMoEError(argument, matrix.shape, f"{hint}pass a matrix of shape {shapes}")
        return np.pad(matrix, ((0, self.rows - len(matrix)), (0, 0)))

    def finish(self) -> tuple[Piece | None, Piece | None]:
        """What is added beside the network, each level (N_e, k) for k ranks; None for nothing.

        First come matrices with the rows that the network's input mode has; then, where that has no row for
        a bias, biases.
        """
        pieces = combine(self.pieces)
        if self.stage.network.bias:
            return join(pieces), None
        parts = [piece.part_bias() for piece in pieces]
        return join([matrix for matrix, _ in parts]), join([bias for _, bias in parts])

    def _gather(self) -> None:
        """Combine pieces where there are many, so that a long list of edits takes no time for each pair."""
        if len(self.pieces) > self._most:
            self.pieces = combine(self.pieces)
            self._most = 2 * len(self.pieces) + _FEW

    def _find_carrier(self, term: Network, several: bool) -> Core | None:
        """The core whose rows are experts, and which the term's weights are linear in."""
        modes = {*expert_modes(self.stage.levels)}
        carrying = [core for core in term.cores if modes & {*core.indices}]
        # A shared core's rows are more than experts, or other layers', and a fixed one's are not changed.
        held = self.stage.network.held
        whole = [core for core in carrying if modes <= {*core.indices} and core.name not in held]
        return whole[0] if whole and (len(carrying) == 1 or not several) else None

    def _mix_rows(self, core: Core, places: Sequence[Place], matrix: NumPyArray) -> None:
        axes = [core.indices.index(mode) for mode in expert_modes(self.stage.levels)]
        if core.name not in self.changed:
            self.cores[core.name] = self.cores[core.name].copy()
            self.changed.add(core.name)
        array = self.cores[core.name]
        rows = np.moveaxis(array, axes, range(len(axes)))
        chosen = tuple(np.array(places).T)
        with np.errstate(over="ignore", invalid="ignore"):
            rows[chosen] = np.tensordot(matrix, rows[chosen], 1)

    def _mix_beside(self, term: Network, places: Sequence[Place], matrix: NumPyArray) -> None:
        weights = np.stack([self._weigh(term, place) for place in places])
        with np.errstate(over="ignore", invalid="ignore"):
            changes = np.tensordot(matrix - np.eye(len(places)), weights, 1)
        # Of experts that are equal there, only what was rounded is left.
        noise = len(places) * np.finfo("float64").eps * np.abs(weights).max()
        changes[np.abs(changes) <= noise] = 0
        for place, change in zip(places, changes, strict=True):
            self.add_matrix(place, change)

    def _weigh(self, term: Network, place: Place) -> NumPyArray:
        """An expert's matrix (I[+1], O) in one term."""
        shape = self.rows, self.stage.out_features
        check_memory(
            "edits", shape, "an expert's matrix and its factors", 32 * shape[0] * shape[1], host_memory()
        )
        numbers = dict(zip(expert_modes(self.stage.levels), place, strict=True))
        operands: list[object] = []
        whole, cores = with_whole_modes(term, self.cores)
        symbols = {index: symbol for symbol, index in enumerate(whole.sizes)}
        for core in whole.cores:
            chosen = tuple(numbers.get(index, slice(None)) for index in core.indices)
            kept = [symbols[index] for index in core.indices if index not in numbers]
            operands += [cores[core.name][chosen], kept]
        with np.errstate(over="ignore", invalid="ignore"):
            kept = [symbols[mode] for mode in (INPUT, OUTPUT) if mode in term.carried_modes]
            weight: NumPyArray = np.asarray(opt_einsum.contract(*operands, kept))
        return place_rows(term, weight, self.rows)
