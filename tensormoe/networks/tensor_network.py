"""The factorization that takes any notation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from ..codec import Data
from ..errors import TensorMoEError, mapping, positive_integer, true_or_false
from ..typing import Array
from .factorization import Factorization
from .fixed import Fixed, fill_fixed, read_all_fixed
from .habits import explain
from .identities import check_identities, drop_identities
from .network import Network
from .notation import Notation, is_mode
from .splits import Split, check_terms, is_split_mode


@dataclass(frozen=True, init=False)
class TensorNetwork(Factorization):
    """Any factorization, in one line of index notation.

    Cores are separated by commas, the indices of a core by spaces. The modes are `i` (input), `o` (output)
    and `n` (experts), or `n1`, `n2`, … with several expert levels; every other name is a bond: it is summed
    over, and its size is a keyword argument. A bond may join any number of cores (a hyperedge). With several
    levels, a core written with `n` is repeated for each of them. By default, parameter matching grows the
    last bond in the notation.

    A name before a colon names a core, and the same name again is the same core: in `A: i r, A: o r` one
    parameter is used twice. It is counted, drawn and saved once, and its gradient is the sum over its uses.

    A named core may be fixed: it is not trained, and not counted among the parameters. Its values follow
    from a name, such as "hadamard", or are an array.

    A mode given as a tuple of sizes is split: with `i=(24, 32)` cores carry `i1` and `i2`, where
    i = 32 i1 + i2. The experts of a layer with one level can be split in the same way: with `n=(8, 32)` and
    `experts=256`, n1 is a group and n2 an expert in it. A layer has one path, plan and proof for all of it;
    the input and the output are viewed in another shape and not copied. Each of several levels is split by
    its own name: with `n1=(8, 32)`, cores carry `n1_1` and `n1_2`.

    With `pad=True`, the parts of a mode may make up more values than it has: 760 inputs are the first of
    24 · 32 = 768. Data are padded with zeros to that, and the output is without what it has beyond.

    Args:
        notation: the network.
        fixed: the values of fixed cores by name: an array of the core's shape; or "identity", "hadamard",
            "dct", "dft" (the real Fourier basis), "blocks 4" (a mask of ones in 4 diagonal blocks),
            "gaussian", "signs" (1 or −1) and "hash" (one 1 or −1 in each row), the last three with a seed, as
            in "gaussian 7".
        pad: whether the parts of split modes may make up more values than these have; see above.
        sizes: the size of every bond, by name, and the sizes of a split mode's parts.

    Raises:
        TensorMoEError: malformed notation, a bond without a size, a size without a bond, a part of a mode
            that is not split, a fixed core that the notation does not name, values that are not those of a
            core.

    Examples:
        >>> import tensormoe as tm
        >>> tm.TensorNetwork("n r, i r, o r", r=64)
        TensorNetwork('n r, i r, o r', r=64)
        >>> tm.TensorNetwork("n o, i o")                     # Mixture of Decoders
        TensorNetwork('n o, i o')
        >>> tm.TensorNetwork("n r, A: i r, A: o r", r=4).network((5,), 8, 8).shapes
        {'core1': (5, 4), 'A': (8, 4)}
        >>> mixed = tm.TensorNetwork("H: i q, n q, q o", q=8, fixed={"H": "hadamard"})
        >>> mixed.network((5,), 8, 6).num_parameters        # 5 · 8 + 8 · 6
        88
        >>> kronecker = tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 4), o=(3, 2))
        >>> kronecker.network((5,), 8, 6).shapes
        {'core1': (5, 2, 3), 'core2': (5, 4, 2)}
        >>> padded = tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 4), o=(3, 2), pad=True)
        >>> padded.network((5,), 7, 5).weight_shape
        (5, 7, 5)
    """

    text: str
    ranks: tuple[tuple[str, int], ...]
    fixed: tuple[tuple[str, Fixed], ...]
    parts: tuple[tuple[str, tuple[int, ...]], ...]
    pad: bool

    def __init__(
        self,
        notation: str,
        /,
        *,
        fixed: Mapping[str, Array | str] | None = None,
        pad: bool = False,
        **sizes: int | Sequence[int],
    ) -> None:
        parsed, pad = Notation.parse(notation), true_or_false("pad", pad)
        names = parsed.bonds
        splits = {name: Split.of(name, value) for name, value in sizes.items() if is_split_mode(name)}
        for name, size in sizes.items():
            if name not in names and name not in splits:
                unknown = f"unknown bond {name!r}: {notation!r} has no such index"
                unknown += explain(str(notation), sizes, name, names)
                mode = f"{name!r} is a mode, whose size comes from the layer: leave it out"
                raise TensorMoEError(name, size, mode if is_mode(name) else unknown)
        for name in names:
            if name not in sizes:
                remedy = f"bond {name!r} has no size: pass {name}=…; modes are called i, o and n (n1, n2, …)"
                raise TensorMoEError(
                    "notation", notation, remedy + explain(str(notation), sizes, name, sizes)
                )
        checked = tuple((name, positive_integer(f"bond {name}", sizes[name])) for name in names)
        object.__setattr__(self, "text", str(parsed))
        object.__setattr__(self, "ranks", checked)
        object.__setattr__(self, "fixed", read_all_fixed(parsed, fixed))
        object.__setattr__(self, "parts", tuple((name, split.sizes) for name, split in splits.items()))
        object.__setattr__(self, "pad", pad)
        check_terms(self.text, parsed.terms, self.splits())
        if pad and not splits:
            raise TensorMoEError("pad", pad, f"{self.text!r} has no split mode to pad: leave it out")

    @classmethod
    def with_sizes(
        cls,
        notation: str,
        bonds: Mapping[str, int],
        fixed: Mapping[str, Array | str] | None = None,
        parts: Mapping[str, Sequence[int]] | None = None,
        pad: bool = False,
    ) -> Self:
        """The network of a notation with the size of every bond, and those of parts, in mappings."""
        sizes, split = mapping("bonds", bonds), {} if parts is None else mapping("parts", parts)
        for name, use in (("fixed", "fixed cores"), ("pad", "padding")):
            if name in sizes:
                remedy = f"this keyword is for {use}: call the bond by another name"
                raise TensorMoEError(f"bond {name}", sizes[name], remedy)
        return cls(notation, fixed=fixed, pad=pad, **sizes, **split)

    def __repr__(self) -> str:
        sizes = "".join(f", {name}={size}" for name, size in (*self.ranks, *self.parts))
        fixed = f", fixed={dict(self.fixed)}" if self.fixed else ""
        return f"TensorNetwork({self.text!r}{sizes}{fixed}{', pad=True' * self.pad})"

    def splits(self) -> tuple[Split, ...]:
        return tuple(Split.of(name, sizes, self.pad) for name, sizes in self.parts)

    def notation(self, levels: int) -> Notation:
        return self._drop(levels)[0]

    def bonds(self, levels: int) -> dict[str, int]:
        """The size of every bond; those that an identity makes equal are one."""
        renamed = self._drop(levels)[1]
        return {name: size for name, size in self.ranks if name not in renamed}

    def with_bonds(self, bonds: Mapping[str, int]) -> Self:
        given = mapping("bonds", bonds)
        written, square = Notation.parse(self.text), [name for name, each in self.fixed if each.is_identity]
        sizes = {**given}
        for name, size in self.ranks if square else ():
            equal = [given[each] for each in sorted(written.find_tied(name, square)) if each in given]
            sizes.setdefault(name, equal[0] if equal else size)
        return type(self).with_sizes(self.text, sizes, dict(self.fixed), dict(self.parts), self.pad)

    def fixed_cores(self, levels: int) -> dict[str, Fixed]:
        needed = {*self.notation(levels).names}
        return {name: fixed for name, fixed in self.fixed if name in needed}

    def with_fixed(self, arrays: Mapping[str, Array]) -> Self:
        filled = fill_fixed(dict(self.fixed), mapping("arrays", arrays))
        if not arrays:
            return self
        return type(self).with_sizes(self.text, dict(self.ranks), filled, dict(self.parts), self.pad)

    def network(
        self, experts: tuple[int, ...], input_size: int, output_size: int, bias: bool = False
    ) -> Network:
        network = super().network(experts, input_size, output_size, bias)
        check_identities(self.text, dict(self.ranks), self._drop(len(network.experts))[1], network)
        return network

    def _drop(self, levels: int) -> tuple[Notation, dict[str, str]]:
        """The notation without identities that are not needed, and the bonds that these rename."""
        written = Notation.parse(self.text).at_levels(levels)
        return drop_identities(written, [name for name, each in self.fixed if each.is_identity])

    def core_names(self, notation: Notation, levels: int) -> tuple[str, ...]:
        return Notation.parse(notation).core_numbers

    def _to_data(self) -> dict[str, Data]:
        data: dict[str, Data] = {"notation": self.text, "bonds": dict(self.ranks)}
        if self.fixed:
            data["fixed"] = {name: each.to_data() for name, each in self.fixed}
        if self.parts:
            data["parts"] = {name: list(sizes) for name, sizes in self.parts}
        if self.pad:
            data["pad"] = True
        return data

    @classmethod
    def _from_data(cls, data: Mapping[str, object]) -> Self:
        notation, bonds, parts = data.get("notation"), data.get("bonds"), data.get("parts", {})
        if {*data} - {"fixed", "parts", "pad"} != {"notation", "bonds"}:
            raise TensorMoEError(
                cls._what, dict(data), "pass two fields: notation, and bonds with the size of each"
            )
        if not all(map(is_split_mode, mapping("parts", parts))):
            raise TensorMoEError("parts", parts, "these modes can be split: i, o and n (n1, n2, …)")
        fixed, pad = data.get("fixed"), true_or_false("pad", data.get("pad", False))
        return cls.with_sizes(notation, mapping("bonds", bonds), fixed, parts, pad)  # type: ignore[arg-type]
