"""Writes docs/gallery.md from the structures and what was measured of them."""

import json
from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import matplotlib

import tensormoe as tm

from ..digits import RATE
from .measure import BUDGET, EPOCHS, SEEDS, Measured, interval, match
from .structures import EXPERTS, IN, OUT, STRUCTURES, Structure

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURES = DOCS / "gallery.md", DOCS / "images" / "gallery"
RESULTS = Path(__file__).with_name("results.json")

_HEAD = f"""\
# Gallery

Structures of the literature, each in a line or a few, with its picture, its cost, and whether it learns.

All are layers or blocks from {IN} inputs to {OUT} outputs with {EXPERTS} experts, or 4 × 4. Bonds grow until
the parameters, gate and bias included, would exceed {BUDGET:,}; what has no bond to grow keeps its size.

- **MACs** are those of a token in a large batch, router included.
- **Proved** are programs and gradients, for all values, by `tm.prove`; the table has the program's steps.
- **Verified** is what `tm.verify` passes with all its methods on NumPy, PyTorch and JAX.
- **Accuracy** is that on 450 test images of scikit-learn's digits after {EPOCHS} epochs of Adam at {RATE:g}:
  the mean of {SEEDS} seeds with its 95 % interval. Nothing was tuned, and most of these layers have no
  nonlinearity but the gate: the figures say that a structure trains, not which is best.

`python -m benchmarks.gallery` measures what is missing and writes this page.
"""

_IMPORT = """\
```python
import numpy as np

import tensormoe as tm
```
"""


def read_results() -> dict[str, Measured]:
    """What was measured, by the structure's name."""
    results: dict[str, Measured] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return results


def write(results: Mapping[str, Measured]) -> None:
    """Write the page."""
    PAGE.write_text(text(results), encoding="utf-8")


def text(results: Mapping[str, Measured]) -> str:
    """The page."""
    rows = [
        "| structure | parameters | MACs | proved | verified | accuracy % |",
        "|---|---:|---:|---|---|---:|",
    ]
    parts = []
    for group, structures in groupby(STRUCTURES, key=attrgetter("group")):
        parts.append(f"## {group}\n")
        for structure in structures:
            spec = match(structure.build())
            rows.append(_row(structure, spec, results.get(structure.name)))
            parts.append(_section(structure, spec))
    return "\n".join([_HEAD, *rows, "", _IMPORT, *parts])


def _row(structure: Structure, spec: tm.Spec, measured: Measured | None) -> str:
    verified = "–" if measured is None else "yes" if measured["verified"] else "**no**"
    accuracy = "–" if measured is None else interval(measured["accuracies"])
    cells = [
        f"[{structure.name}](#{structure.anchor})",
        f"{spec.num_parameters:,}",
        f"{spec.macs:,}",
        f"{_steps(spec)} steps",
        verified,
        accuracy,
    ]
    return f"| {' | '.join(cells)} |"


def _steps(spec: tm.Spec) -> int:
    """The steps of the program that is proved; an error if it cannot be."""
    tm.prove(spec)
    return sum(len(stage.plan(1024).steps) for stage in spec.layers.values())


def _section(structure: Structure, spec: tm.Spec) -> str:
    ranks = ", ".join(
        f"{name} = {size:,}" for stage in spec.layers.values() for name, size in stage.network.bonds
    )
    grown = f" Here {ranks}." if ranks else ""
    notation = "; ".join(str(stage.network) for stage in spec.layers.values())
    return f"""\
### {structure.name}

![{notation}](images/gallery/{structure.anchor}.svg)

```python
{structure.lines.strip()}
```

{structure.says}{grown}

*{structure.source}.*
"""


def draw_all() -> None:
    """Draw every structure."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    # Text stays text, and the same network gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tensormoe"}):
        for structure in STRUCTURES:
            path = PICTURES / f"{structure.anchor}.svg"
            tm.draw(match(structure.build())).savefig(path, metadata={"Date": None})
