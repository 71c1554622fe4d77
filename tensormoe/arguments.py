"""What the command line's words and files say of layers: options, read and checked."""

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import TensorMoEError, positive_integer
from .layers.block_spec import MuMoEBlockSpec
from .layers.layer_spec import MuMoESpec
from .layers.serialization import spec_from_json
from .layers.spec import Spec
from .networks.notation import INPUT, OUTPUT, Notation
from .networks.tensor_network import TensorNetwork

_SPEC = """\
The layer is a file that holds a specification as JSON (spec.to_json()), or index notation with sizes:
  tensormoe %(command)s SPEC.json
  tensormoe %(command)s "n r, i r, o r" --bond r=64 --experts 16 --in 768 --out 3072
  tensormoe %(command)s "n r, i r, o r" --bond r=64 --experts 16 --in 768 --hidden 3072 --out 768
Unless a bond has the name of an option, --r 64 is short for --bond r=64.
"""
# The options that only index notation takes, each with its parsed name.
_SIZES = {"--experts": "experts", "--in": "in_features", "--out": "out_features"}
# Those that only a block takes.
_OF_BLOCKS = {"--nonlinearity": "nonlinearity", "--gated": "gated", "--shared": "shared"}
# In bytes; specifications take a few hundred.
_LARGEST_FILE = 2**20


def add_layer_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    """A command that takes a layer, as a file or as notation; `read_spec` reads it."""
    parser = commands.add_parser(
        name,
        help=text,
        # A bond named b is not an abbreviation of --backend.
        allow_abbrev=False,
        description=_SPEC % {"command": name},
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("layer", help="a JSON file, or index notation")
    parser.add_argument(
        "--bond",
        action="append",
        metavar="NAME=SIZE",
        help="with notation: a bond's size; repeat it for each",
    )
    parser.add_argument("--experts", help="with notation: N, or one count for each level, as 16,16")
    parser.add_argument("--in", dest="in_features", type=whole, help="with notation: input features")
    parser.add_argument("--out", dest="out_features", type=whole, help="with notation: output features")
    parser.add_argument("--no-bias", dest="bias", action="store_false", help="with notation: no bias")
    parser.add_argument("--hidden", type=whole, help="with notation: a block with so many hidden features")
    parser.add_argument("--nonlinearity", metavar="NAME", help="of a block (default: gelu)")
    parser.add_argument("--gated", action="store_true", default=None, help="whether a block is gated")
    parser.add_argument(
        "--shared",
        action="append",
        metavar="NAME",
        help="a core that is one parameter in all layers of a block; repeat it for each",
    )
    parser.add_argument(
        "--fixed",
        action="append",
        metavar="NAME=VALUES",
        help='with notation: a core that is not trained, such as "M=blocks 4"; repeat it for each',
    )
    return parser


def add_batch_size(parser: argparse.ArgumentParser, default: int) -> None:
    """The option of how many input vectors there are."""
    text = f"how many input vectors (default: {default})"
    parser.add_argument("--batch-size", type=whole, default=default, metavar="T", help=text)


def read_spec(options: argparse.Namespace, rest: list[str]) -> Spec:
    """The layer that the words describe; `rest` are those that no option took, such as --r 64."""
    path = Path(options.layer)
    if path.suffix.lower() == ".json":
        _check_beside_file(options)
        check_rest(rest)
        return spec_from_json(_text(path))
    notation = Notation.parse(options.layer)
    if not {INPUT, OUTPUT} <= {*notation.indices}:
        remedy = 'pass a JSON file, or index notation with the modes i and o, such as "n r, i r, r o"'
        raise TensorMoEError("layer", options.layer, remedy)
    for flag, name in _SIZES.items():
        if getattr(options, name) is None:
            remedy = f"index notation needs --experts, --in and --out: add {flag}"
            raise TensorMoEError("layer", options.layer, remedy)
    experts = tuple(_integer("--experts", count) for count in options.experts.split(","))
    bonds = _bonds(options.bond or [], rest)
    for name in notation.bonds:
        if name not in bonds:
            remedy = f"bond {name!r} has no size: add --bond {name}=64, or another size"
            raise TensorMoEError("layer", options.layer, remedy)
    network = TensorNetwork.with_sizes(options.layer, bonds, _fixed(options.fixed or []))
    return _build(options, experts, network)


def read_network(options: argparse.Namespace) -> Spec | str:
    """What is to be drawn: the layer of a JSON file, or the words as notation."""
    path = Path(options.layer)
    if path.suffix.lower() != ".json":
        return str(options.layer)
    if options.levels is not None:
        raise TensorMoEError("--levels", options.levels, f"{options.layer} already sets them: omit --levels")
    return spec_from_json(_text(path))


def _build(options: argparse.Namespace, experts: tuple[int, ...], network: TensorNetwork) -> Spec:
    """A block if there are hidden features, otherwise a layer."""
    features = {"in_features": options.in_features, "out_features": options.out_features}
    shared: dict[str, Any] = {**features, "experts": experts, "factorization": network, "bias": options.bias}
    values = {flag: getattr(options, name) for flag, name in _OF_BLOCKS.items()}
    given = {flag: value for flag, value in values.items() if value is not None}
    if options.hidden is not None:
        named = {_OF_BLOCKS[flag]: value for flag, value in given.items()}
        return MuMoEBlockSpec(hidden_features=options.hidden, **shared, **named)
    for flag, value in given.items():
        raise TensorMoEError(flag, value, "only a block has this: add --hidden, its hidden features")
    return MuMoESpec(**shared)


def _check_beside_file(options: argparse.Namespace) -> None:
    """Raise an error for an option that the JSON file already sets."""
    named = {**_SIZES, **_OF_BLOCKS, "--hidden": "hidden", "--bond": "bond", "--fixed": "fixed"}
    given = {flag: getattr(options, name) for flag, name in named.items()}
    given["--no-bias"] = None if options.bias else True
    for flag, value in given.items():
        if value is not None:
            remedy = f"{options.layer} already sets this: omit {flag}, or change the file"
            raise TensorMoEError(flag, value, remedy)


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= _LARGEST_FILE else None
    except (OSError, ValueError) as error:  # ValueError: another encoding, or a null character
        raise TensorMoEError(
            "layer", str(path), f"the file cannot be read ({error}): pass a readable JSON file"
        ) from error
    if text is None:
        raise TensorMoEError("layer", str(path), f"a file of {size:,} bytes holds no specification")
    return text


def check_place(flag: str, path: Path | None, make: bool = False) -> None:
    """Raise the error of a file that cannot be written, before what it should hold is computed.

    Args:
        flag: the option that names the file.
        path: of the file; None if there is to be none.
        make: whether to make its folder.
    """
    if path is None:
        return
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        fits = path.parent.is_dir() and not path.is_dir() and "\0" not in path.name
    except (OSError, ValueError):  # a name that is too long, or has a null character
        fits = False
    if not fits:
        raise TensorMoEError(flag, str(path), "pass a file in an existing folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise TensorMoEError(flag, str(path), "this may not be written to: pass another path")


def _bonds(given: Sequence[str], rest: Sequence[str]) -> dict[str, int]:
    """Bond sizes from what follows each --bond, such as r=64, and from words such as --r 64 or --r=64."""
    words = [part for word in rest for part in word.split("=", 1)]
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise TensorMoEError("bonds", " ".join(rest), "give each bond its size, such as --bond r=64")
    short = [f"{word.removeprefix('--')}={size}" for word, size in zip(words[::2], words[1::2], strict=True)]
    return read_bonds([*given, *short], [*given, *rest])


def _fixed(given: Sequence[str]) -> dict[str, str]:
    """The values of fixed cores from texts such as H=hadamard."""
    pairs = [text.partition("=") for text in given]
    if not all(name and values for name, _, values in pairs) or len({name for name, *_ in pairs}) < len(
        pairs
    ):
        remedy = 'write the name of each core once, with its values, such as --fixed "M=blocks 4"'
        raise TensorMoEError("--fixed", " ".join(given), remedy)
    return {name: values for name, _, values in pairs}


def read_bonds(given: Sequence[str], told: Sequence[str]) -> dict[str, int]:
    """Bond sizes from texts such as r=64.

    Args:
        given: the texts.
        told: what an error shows of them.
    """
    for text in given:
        if "=" not in text:
            raise TensorMoEError("--bond", text, "write a name and a size, such as --bond r=64")
    pairs = [text.split("=", 1) for text in given]
    if len({name for name, _ in pairs}) < len(pairs):
        raise TensorMoEError("bonds", " ".join(told), "give each bond exactly one size")
    return {name: _integer(f"bond {name}", size) for name, size in pairs}


def whole(text: str) -> int:
    """An option's integer; argparse would repeat all of a text that is none."""
    try:
        return int(text)
    except ValueError as error:
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        raise argparse.ArgumentTypeError(f"received {shown!r}; pass an integer") from error


def _integer(argument: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise TensorMoEError(argument, text, "pass a positive integer") from error


def read_shape(text: str) -> tuple[int, ...]:
    """The sizes of --image-shape, such as 28,28."""
    return tuple(
        positive_integer("--image-shape", _integer("--image-shape", size)) for size in text.split(",")
    )


def split(texts: Iterable[str]) -> tuple[str, ...]:
    """The comma-separated words of an option that may be repeated."""
    return tuple(word for text in texts for word in text.split(","))


def check_rest(rest: list[str]) -> None:
    """Raise an error for words that no option took."""
    if rest:
        raise TensorMoEError("arguments", " ".join(rest), "unknown arguments: see --help")
