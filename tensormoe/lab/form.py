"""What the fields of the page say, read as a specification; and what says the same in Python."""

import re
from dataclasses import dataclass

from ..errors import TensorMoEError, mapping, positive_integer, true_or_false
from ..layers.layer_spec import MuMoESpec
from ..networks.notation import Notation
from ..networks.tensor_network import TensorNetwork

# A picture of more cores is not readable, and a longer text is not notation.
MOST_CORES, _MOST_CHARACTERS = 32, 1_000
# What specifications call fields of the page.
_FIELDS = {"in_features": "inputs", "out_features": "outputs"}
_SIZE = re.compile(r"(\w+)\s*[=:]\s*(\S+)")
_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True)
class Form:
    """The fields as they were typed.

    Args:
        notation: such as "n r, i r, r o".
        inputs, outputs: features.
        experts: a count, or one for each level as "16, 16".
        sizes: of bonds, "r=64 s=8", and of parts of modes, "i=16x48".
        batch_size: how many input vectors the plan is for.
        bias: whether the experts have biases.
    """

    notation: str
    inputs: str
    outputs: str
    experts: str
    sizes: str
    batch_size: str
    bias: bool

    @classmethod
    def read(cls, data: object) -> "Form":
        """The form of a request.

        Raises:
            TensorMoEError: fields are missing or unknown, or hold something else than text.
        """
        given = mapping("form", data)
        names = [*cls.__annotations__]
        if {*given} != {*names}:
            raise TensorMoEError("form", sorted(given), f"pass the fields {', '.join(names)}")
        texts = {name: _text(name, given[name]) for name in names if name != "bias"}
        return cls(**texts, bias=true_or_false("bias", given["bias"]))

    @property
    def batch(self) -> int:
        """The number of input vectors."""
        return _integer("batch_size", self.batch_size)

    def spec(self) -> MuMoESpec:
        """The layer that the fields describe.

        Raises:
            TensorMoEError: as `MuMoESpec` and `TensorNetwork`, or there are too many cores for a picture.
        """
        notation = Notation.parse(self.notation)
        if len(notation.cores) > MOST_CORES:
            remedy = f"this page shows at most {MOST_CORES} cores: use `tensormoe plan` and `tensormoe prove`"
            raise TensorMoEError("notation", f"{len(notation.cores)} cores", remedy)
        bonds, parts = self._sizes()
        missing = [name for name in notation.bonds if name not in bonds]
        if missing:
            text = " ".join(f"{name}=64" for name in missing)
            raise TensorMoEError("sizes", self.sizes, f"give each bond a size: add {text}, or other sizes")
        return MuMoESpec(
            _integer("inputs", self.inputs),
            _integer("outputs", self.outputs),
            tuple(_integer("experts", count) for count in filter(None, re.split(r"[\s,×x]+", self.experts))),
            TensorNetwork.with_sizes(self.notation, bonds, parts=parts),
            bias=self.bias,
        )

    def _sizes(self) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
        """Those of bonds, and those of parts of modes."""
        words = [word for word in re.split(r"[\s,;]+", re.sub(r"\s*[=:]\s*", "=", self.sizes)) if word]
        bonds: dict[str, int] = {}
        parts: dict[str, tuple[int, ...]] = {}
        for word in words:
            match = _SIZE.fullmatch(word)
            if match is None or match[1] in {**bonds, **parts}:
                raise TensorMoEError(
                    "sizes", word, "write each size once, such as r=64, or i=16x48 for parts"
                )
            counts = tuple(_integer("sizes", count) for count in re.split("[x×*]", match[2]))
            if len(counts) == 1:
                bonds[match[1]] = counts[0]
            else:
                parts[match[1]] = counts
        return bonds, parts


def to_python(spec: MuMoESpec) -> str:
    """The lines that build a specification of the page in Python."""
    network = spec.factorization
    experts = spec.experts[0] if len(spec.experts) == 1 else spec.experts
    bias = "" if spec.bias else ", bias=False"
    return (
        "import tensormoe as tm\n\n"
        f"network = tm.{network!r}\n"
        f"spec = tm.MuMoESpec({spec.in_features}, {spec.out_features}, experts={experts}, "
        f"factorization=network{bias})"
    )


def find_field(error: TensorMoEError) -> str:
    """The field of the page that an error is about."""
    argument = _FIELDS.get(error.argument, error.argument)
    if argument.startswith("bond "):
        return "sizes"
    return argument if argument in Form.__annotations__ else "notation"


def _integer(argument: str, text: str) -> int:
    digits = text.strip()
    if not _NUMBER.fullmatch(digits):
        raise TensorMoEError(argument, text, "pass a positive integer")
    return positive_integer(argument, int(digits))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS:
        raise TensorMoEError(name, value, f"pass text of at most {_MOST_CHARACTERS:,} characters")
    return value
