"""What the fields of the page say, read as a specification; and what says the same in Python."""

import re
from dataclasses import dataclass

from ..errors import TensorMoEError, mapping, one_of, positive_integer, true_or_false
from ..gates.activations import Activation
from ..gates.gate import Gate
from ..layers.block_spec import MuMoEBlockSpec
from ..layers.layer_spec import MuMoESpec
from ..networks.notation import Notation
from ..networks.tensor_network import TensorNetwork

# A picture of more cores is not readable, and a longer text is not notation.
MOST_CORES, _MOST_CHARACTERS = 32, 1_000
# What specifications call fields of the page, and what the names of others begin with.
_FIELDS = {"in_features": "inputs", "hidden_features": "hidden", "out_features": "outputs"}
# Of gate activations.
_OPTIONS = ("k", "alpha", "eps", "threshold")
_FIELDS |= {"gate norm": "norm", **dict.fromkeys(_OPTIONS, "gate")}
_BEGINNINGS = {"bond ": "sizes", "fixed": "fixed", "gate": "gate"}
_NONE = ("", "none")
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
        fixed: the values of fixed cores by name, "H=hadamard, M=blocks 4".
        batch_size: how many input vectors the plan is for.
        hidden: the hidden features of a block; "" for a layer.
        nonlinearity, gated: of a block.
        gate: its activation, with options as "top_k k=2"; "none" if coefficients come with each call.
        norm: of the gate; "none" for none.
        bias: whether the experts have biases.
    """

    notation: str
    inputs: str
    outputs: str
    experts: str
    sizes: str
    fixed: str
    batch_size: str
    hidden: str
    nonlinearity: str
    gated: bool
    gate: str
    norm: str
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
        texts = {name: _text(name, given[name]) for name in names if name not in ("bias", "gated")}
        bias, gated = (true_or_false(name, given[name]) for name in ("bias", "gated"))
        return cls(**texts, bias=bias, gated=gated)

    @property
    def batch(self) -> int:
        """The number of input vectors."""
        return _integer("batch_size", self.batch_size)

    def spec(self) -> MuMoESpec | MuMoEBlockSpec:
        """The layer, or the block, that the fields describe.

        Raises:
            TensorMoEError: as these and `TensorNetwork`, or there are too many cores for a picture.
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
        network = TensorNetwork.with_sizes(self.notation, bonds, self._fixed(), parts)
        counts = filter(None, re.split(r"[\s,×x]+", self.experts))
        experts = tuple(_integer("experts", count) for count in counts)
        inputs, outputs = _integer("inputs", self.inputs), _integer("outputs", self.outputs)
        gate = self._gate() if experts else None
        if not self.hidden.strip():
            return MuMoESpec(inputs, outputs, experts, network, gate, self.bias)
        hidden, function = _integer("hidden", self.hidden), self.nonlinearity.strip()
        sizes = inputs, hidden, outputs, experts
        return MuMoEBlockSpec(*sizes, network, gate, self.bias, function, self.gated)

    def _gate(self) -> Gate | None:
        name, *options = self.gate.split()
        if name in _NONE:
            return None
        values = {}
        for key, _, value in (option.partition("=") for option in options):
            one_of("gate option", key, _OPTIONS)
            values[key] = _number(value)
        activation = Activation(name, **values) if values else name
        norm = self.norm.strip()
        return Gate(activation, None if norm in _NONE else norm)

    def _fixed(self) -> dict[str, str]:
        """The values of fixed cores by name."""
        pairs = [each.partition("=") for each in re.split("[,;]", self.fixed) if each.strip()]
        for name, equals, value in pairs:
            if not (name.strip() and equals and value.strip()):
                raise TensorMoEError("fixed", self.fixed, "write a core's name and its values, as H=hadamard")
        return {name.strip(): value.strip() for name, _, value in pairs}

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


def to_python(spec: MuMoESpec | MuMoEBlockSpec) -> str:
    """The lines that build a specification of the page in Python."""
    experts = spec.experts[0] if len(spec.experts) == 1 else spec.experts
    sizes = ", ".join(map(str, spec.features))
    options = [f"experts={experts}", "factorization=network", *_write_gate(spec)]
    if isinstance(spec, MuMoEBlockSpec):
        options += [f"nonlinearity={spec.nonlinearity!r}"] * (spec.nonlinearity != "gelu")
        options += ["gated=True"] * spec.gated
    options += ["bias=False"] * (not spec.bias)
    return (
        "import tensormoe as tm\n\n"
        f"network = tm.{spec.factorization!r}\n"
        f"spec = tm.{type(spec).__name__}({sizes}, {', '.join(options)})"
    )


def _write_gate(spec: MuMoESpec | MuMoEBlockSpec) -> list[str]:
    """The argument for another gate than the default."""
    gate = spec.gate
    if not isinstance(gate, Gate):
        return ["gate=None"] if spec.experts else []
    activation = (
        f"tm.{gate.activation!r}" if isinstance(gate.activation, Activation) else repr(gate.activation)
    )
    return [] if gate == Gate() else [f"gate=tm.Gate({activation}, norm={gate.norm!r})"]


def find_field(error: TensorMoEError) -> str:
    """The field of the page that an error is about."""
    argument = _FIELDS.get(error.argument, error.argument)
    if argument in Form.__annotations__:
        return argument
    return next((field for start, field in _BEGINNINGS.items() if argument.startswith(start)), "notation")


def _integer(argument: str, text: str) -> int:
    digits = text.strip()
    if not _NUMBER.fullmatch(digits):
        raise TensorMoEError(argument, text, "pass a positive integer")
    return positive_integer(argument, int(digits))


def _number(text: str) -> int | float:
    """An option of a gate activation."""
    try:
        return int(text) if _NUMBER.fullmatch(text) else float(text)
    except ValueError as error:
        raise TensorMoEError("gate", text, "write options as numbers, such as top_k k=2") from error


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS:
        raise TensorMoEError(name, value, f"pass text of at most {_MOST_CHARACTERS:,} characters")
    return value
