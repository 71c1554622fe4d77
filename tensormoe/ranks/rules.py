"""What is redundant in a network, rule by rule. Each finds one thing and removes it; the weight stays."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from math import prod

import numpy as np

from ..networks.notation import INPUT, is_mode
from ..typing import NumPyArray
from .sketch import Part, Sketch, multiply
from .tree import gather, scatter

# The sketch afterwards, what was removed, and why it could be.
Removal = tuple[Sketch, str, str]
Rule = Callable[[Sketch], Removal | None]


def drop_zeros(sketch: Sketch) -> Removal | None:
    """Leave out values of a bond at which a core is zero; one stays."""
    for bond, size in sketch.sizes.items():
        carriers = sketch.carriers(bond)
        used = [part.slices(bond).any(axis=1) for part in carriers]
        kept = np.logical_and.reduce(used) if used else np.ones(size, bool)
        kept[0] |= not kept.any()
        if not kept.all():
            return sketch.with_values(bond, kept), f"{bond}: {size} → {kept.sum()}", "a core is zero there"
    return None


def join_values(sketch: Sketch) -> Removal | None:
    """Add up values of a bond that are equal in all cores but one."""
    for bond, size in sketch.sizes.items():
        carriers = sketch.carriers(bond)
        for main in carriers:
            # Adding 0 makes −0 and 0 the same bits.
            others = [part.slices(bond) + 0.0 for part in carriers if part is not main]
            groups: dict[bytes, list[int]] = {}
            for value in range(size):
                groups.setdefault(b"".join(rows[value].tobytes() for rows in others), []).append(value)
            if others and len(groups) < size:
                return _join(sketch, bond, main, [*groups.values()])
    return None


def _join(sketch: Sketch, bond: str, main: Part, groups: list[list[int]]) -> Removal:
    axis, size = main.indices.index(bond), main.values.shape[main.indices.index(bond)]
    sums = np.stack([main.values.take(group, axis).sum(axis) for group in groups], axis)
    kept = np.isin(np.arange(size), [group[0] for group in groups])
    pairs = [(part, part.take(bond, kept)) for part in sketch.carriers(bond) if part is not main]
    joined = sketch.exchange((main, Part(main.name, main.indices, sums)), *pairs)
    return joined, f"{bond}: {size} → {len(groups)}", "values are equal in all cores but one"


def cap_bond(sketch: Sketch) -> Removal | None:
    """Take from a bond of two cores what one of them can't use: more values than its other indices have."""
    for bond, size in sketch.sizes.items():
        carriers = sketch.carriers(bond)
        if len(carriers) != 2:
            continue
        for narrow, other in (carriers, carriers[::-1]):
            batch = [index for index in narrow.indices if index in other.indices and index != bond]
            matrices = gather(narrow.values, narrow.indices, (bond,), batch)
            rows = matrices.shape[-2]
            if rows < size:
                q, r = np.linalg.qr(np.swapaxes(matrices, -1, -2))
                pairs = [(narrow, _replace(narrow, bond, batch, np.swapaxes(r, -1, -2)))]
                turned = gather(other.values, other.indices, (bond,), batch) @ q
                pairs.append((other, _replace(other, bond, batch, turned)))
                return sketch.exchange(*pairs), f"{bond}: {size} → {rows}", "a core has no use for more"
    return None


def _replace(part: Part, bond: str, batch: list[str], matrices: NumPyArray) -> Part:
    shape = list(part.values.shape)
    shape[part.indices.index(bond)] = matrices.shape[-1]
    return Part(part.name, part.indices, scatter(matrices, shape, part.indices, (bond,), batch))


def drop_bond(sketch: Sketch) -> Removal | None:
    """Leave out a bond of size 1, unless the family has it for good."""
    for bond, size in sketch.sizes.items():
        carriers = sketch.carriers(bond)
        if size > 1 or not carriers or not sketch.grows(bond):
            continue
        bare = {part: part.drop(bond) for part in carriers}
        number = prod(float(part.values) for part in bare.values() if not part.indices)
        main = next((part for part in carriers if bare[part].indices), None)
        if main is not None:
            bare[main] = replace(bare[main], values=bare[main].values * number)
            pairs = [(old, new if new.indices else None) for old, new in bare.items()]
            return sketch.exchange(*pairs), f"{bond}: 1 → none", "a bond of size 1"
    return None


def multiply_cores(sketch: Sketch) -> Removal | None:
    """Multiply two cores into one, if that has no more parameters and takes no more operations."""
    for term in sketch.terms:
        for one, other in combinations(term, 2):
            joined, before = _multiply(sketch, term, one, other), one.values.size + other.values.size
            if joined is None or joined.count() > sketch.count() or joined.macs() > sketch.macs():
                continue
            told = f"({' '.join(one.indices)}) ({' '.join(other.indices)}) → one core"
            after = before + joined.count() - sketch.count()
            return joined, told, f"{after:,} parameters, not {before:,}"
    return None


def _multiply(sketch: Sketch, term: tuple[Part, ...], one: Part, other: Part) -> Sketch | None:
    """The sketch with the product of two parts; None if no bond is theirs alone."""
    common = [index for index in one.indices if index in other.indices and not is_mode(index)]
    summed = [bond for bond in common if len(sketch.carriers(bond)) == 2]
    if not summed:
        return None
    sizes = dict(zip(one.indices + other.indices, one.values.shape + other.values.shape, strict=True))
    count = prod(size for index, size in sizes.items() if index not in summed)
    if count > one.values.size + other.values.size:
        return None
    product = multiply(one, other, summed)
    if product.indices:
        return sketch.exchange((one, product), (other, None))
    # A number: another core takes it.
    free = [part for part in term if part not in (one, other) and part.name not in sketch.held]
    if not free:
        return None
    scaled = replace(free[0], values=free[0].values * float(product.values))
    return sketch.exchange((one, None), (other, None), (free[0], scaled))


def add_terms(sketch: Sketch) -> Removal | None:
    """Add a term to one that differs from it in one core only, or that is one core with all of its modes."""
    for one, other in combinations(sketch.terms, 2):
        for pairs in _addable(sketch, one, other):
            joined = sketch.exchange(*pairs)
            texts = [", ".join(" ".join(part.indices) for part in term) for term in (one, other)]
            return joined, f"{texts[0]} + {texts[1]} → one term", "equal in all cores but one"
    return None


def _addable(
    sketch: Sketch, one: tuple[Part, ...], other: tuple[Part, ...]
) -> Iterator[list[tuple[Part, Part | None]]]:
    if any(part.name in sketch.held for part in (*one, *other)):
        return
    gone: list[tuple[Part, Part | None]]
    if len(one) == len(other) == 1:
        for (wide,), (narrow,) in ((one, other), (other, one)):
            if {*narrow.indices} <= {*wide.indices} and _has_rows(wide) == _has_rows(narrow):
                yield [(wide, _add(wide, narrow)), (narrow, None)]
                return
    elif _rename(one) == _rename(other):
        pairs = [*zip(one, other, strict=True)]
        different = [pair for pair in pairs if not np.array_equal(pair[0].values, pair[1].values)]
        if len(different) <= 1 and all(a.values.shape == b.values.shape for a, b in pairs):
            first, second = (different or pairs)[0]
            gone = [(part, None) for part in other]
            yield [(first, Part(first.name, first.indices, first.values + second.values)), *gone]


def _has_rows(part: Part) -> bool:
    """Whether a core carries the input, whole or in parts; otherwise it is a bias."""
    return any(is_mode(index) and index.startswith(INPUT) for index in part.indices)


def _add(wide: Part, narrow: Part) -> Part:
    """A core with every index of another one, and that one added."""
    kept = [index for index in wide.indices if index in narrow.indices]
    moved = narrow.values.transpose([narrow.indices.index(index) for index in kept])
    missing = tuple(axis for axis, index in enumerate(wide.indices) if index not in narrow.indices)
    return Part(wide.name, wide.indices, wide.values + np.expand_dims(moved, missing))


def _rename(term: tuple[Part, ...]) -> list[list[str]]:
    """The indices of a term's cores with bonds named in order."""
    names: dict[str, str] = {}
    return [
        [index if is_mode(index) else names.setdefault(index, f"bond {len(names)}") for index in part.indices]
        for part in term
    ]


# What makes smaller comes first.
RULES: tuple[Rule, ...] = (drop_zeros, join_values, cap_bond, add_terms, drop_bond, multiply_cores)
