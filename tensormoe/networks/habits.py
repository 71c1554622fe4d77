"""The line that was meant, where a notation is written as in einsum, or with other names and marks.

It is a suggestion in an error, never what is done: of two readings, one would be wrong without a word.
"""

import re
from collections.abc import Collection
from difflib import get_close_matches

_INDEX = re.compile(r"[A-Za-z]\w*")
# What stands between cores elsewhere.
_MARKS = re.compile(r"[;|*·×⊗\n]")
_DOTS = re.compile(r"\.\.\.|…")
# What the modes are called elsewhere, in small letters.
_MODES = {
    "i": ("i", "in", "inp", "input", "inputs", "x"),
    "o": ("o", "0", "out", "output", "outputs", "y"),
    "n": ("n", "e", "exp", "expert", "experts"),
}
_SPARE = ("r", "s", "t", "q", "p", "u", "v", "w")

Cores = list[list[str]]


def suggest(text: str, sizes: Collection[str] = ()) -> str:
    """The end of an error that says what to write; "" if nothing is known to be meant.

    Args:
        text: the notation that is refused.
        sizes: the bonds that a size is given for.

    Examples:
        >>> from tensormoe.networks.habits import suggest
        >>> suggest("nr,ir,or->nio", ["r"])
        "; write 'n r, i r, o r'"
        >>> suggest("ab,cb,bd->acd", ["b"])
        "; write 'n b, i b, b o'"
        >>> suggest("N r; I r; O r"), suggest("n r, i r, o r")
        ("; write 'n r, i r, o r'", '')
    """
    left, arrow, right = text.partition("->")
    if "(" in text or "+" in text or ":" in text:
        return ""
    left, right = (_DOTS.sub("", _MARKS.sub(",", side)) for side in (left, right))
    cores = [core.split() for core in left.split(",") if core.strip()]
    if all(len(core) == 1 for core in cores) and any(len(core[0]) > 1 for core in cores):
        # Each letter is an index there; a digit belongs to the letter before it.
        cores = [re.findall(r"[A-Za-z]\d*|\d", core[0]) for core in cores]
    output = right.split() if " " in right.strip() else re.findall(r"[A-Za-z]\d*", right)
    if arrow:
        cores, output = _without_batch(cores, output)
        cores = _name_outputs(cores, output)
    cores = _name_modes(cores, sizes)
    line = ", ".join(map(" ".join, cores))
    indices = [index for core in cores for index in core]
    whole = {"i", "o"} <= {*indices} and all(_INDEX.fullmatch(index) for index in indices)
    return (
        f"; write {line!r}"
        if whole and line != ", ".join(" ".join(c.split()) for c in text.split(","))
        else ""
    )


def explain(text: str, sizes: Collection[str], name: str, known: Collection[str]) -> str:
    """The end of an error about a name that a notation lacks, or that lacks a size: what was meant."""
    return suggest(text, sizes) or name_like(name, known)


def name_like(name: str, known: Collection[str]) -> str:
    """The end of an error about an unknown name; "" if none is like it.

    Examples:
        >>> from tensormoe.networks.habits import name_like
        >>> name_like("rnak", ["rank", "s"]), name_like("R", ["r"]), name_like("a", ["r"])
        ("; did you mean 'rank'?", "; did you mean 'r'?", '')
    """
    same = [each for each in known if each.lower() == name.lower()]
    likely = same or get_close_matches(name, list(known), n=1)
    return f"; did you mean {likely[0]!r}?" if likely else ""


def _without_batch(cores: Cores, output: list[str]) -> tuple[Cores, list[str]]:
    """The cores without x and the coefficients, where the output is "batch o"."""
    if len(output) != 2:
        return cores, output
    batch = output[0]
    kept = [core for core in cores if batch not in core]
    return (kept, []) if len(cores) - len(kept) > 1 else (cores, output)


def _name_outputs(cores: Cores, output: list[str]) -> Cores:
    """The cores with the names of modes for what the output lists: experts, input, output."""
    if len(output) < 3 or {"i", "o"} <= {*output}:
        return cores
    experts = output[:-2]
    named = ["n"] if len(experts) == 1 else [f"n{number}" for number in range(1, len(experts) + 1)]
    names = dict(zip(output, [*named, "i", "o"], strict=True))
    others = {index for core in cores for index in core} - {*names}
    free = (name for name in _SPARE if name not in others)
    names |= {index: next(free, index) for index in sorted(others & {*names.values()})}
    return [[names.get(index, index) for index in core] for core in cores]


def _name_modes(cores: Cores, sizes: Collection[str]) -> Cores:
    """The cores with the modes that are missing in the place of what they are called elsewhere."""
    present = {index for core in cores for index in core}
    names: dict[str, str] = {}
    for mode, others in _MODES.items():
        if any(index == mode or re.fullmatch(rf"{mode}\d+", index) for index in present):
            continue
        likely = [index for index in present if index.lower() in others and index not in sizes]
        if len(likely) == 1:
            names[likely[0]] = mode
    return [[names.get(index, index) for index in core] for core in cores]
