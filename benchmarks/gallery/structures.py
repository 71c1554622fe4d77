"""Structures of the literature as specifications, at 64 inputs, 10 outputs and 16 experts."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tensormoe as tm

IN, OUT, EXPERTS = 64, 10, 16
# Characters of a line that the page shows without a bar to scroll.
LONGEST = 100


@dataclass(frozen=True)
class Structure:
    """One structure of the gallery, as structures.toml has it.

    Args:
        group: the heading that it stands under.
        name: its own heading.
        code: Python that makes `spec`, in at most six lines; or a factorization, which is that of 16 experts.
        says: what it is, in a sentence or two.
        source: author, title and year.
    """

    group: str
    name: str
    code: str
    says: str
    source: str

    @property
    def lines(self) -> str:
        """Python that makes `spec`."""
        if "spec =" in self.code:
            return self.code
        line = f"spec = tm.MuMoESpec({IN}, {OUT}, {EXPERTS}, {self.code})"
        if len(line) <= LONGEST:
            return line
        return f"network = {self.code}\nspec = tm.MuMoESpec({IN}, {OUT}, {EXPERTS}, network)"

    @property
    def anchor(self) -> str:
        """What the heading is called in links, and its picture's file."""
        kept = "".join(letter if letter.isalnum() else " " for letter in self.name.lower())
        return "-".join(kept.split())

    def build(self) -> tm.Spec:
        """The specification that the code makes."""
        namespace: dict[str, object] = {"np": np, "tm": tm}
        exec(self.lines, namespace)
        spec = namespace["spec"]
        assert isinstance(spec, tm.Spec), self.name
        return spec


def read() -> tuple[Structure, ...]:
    """All structures, in the order of the page."""
    data = tomllib.loads(Path(__file__).with_name("structures.toml").read_text(encoding="utf-8"))
    return tuple(Structure(**entry) for entry in data["structure"])


STRUCTURES = read()
