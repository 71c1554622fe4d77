"""The command line: `tensormoe demo | plan | verify | bench`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from . import __version__
from .benching import BenchReport, bench
from .errors import TensorMoEError, positive_integer
from .layers.layer_spec import MuMoESpec
from .layers.spec import Spec, spec_from_json
from .networks.families import TensorNetwork
from .verification import LEVELS, VerificationReport, verify

_SPEC = """\
The layer is a file that holds a specification as JSON (spec.to_json()), or index notation with sizes:
  tensormoe %(command)s SPEC.json
  tensormoe %(command)s "n r, i r, o r" --r 64 --experts 16 --in 768 --out 3072
"""


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words of the command line; by default the process's own.

    Returns:
        The exit status: 0, or 1 if a verification failed, or 2 for a mistake in the arguments.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    try:
        status: int = options.run(options, rest)
        sys.stdout.flush()
    except TensorMoEError as error:
        print(f"tensormoe: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader, such as head, has enough; without this Python complains once more while closing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tensormoe", description="Factorized mixture-of-experts layers.")
    parser.add_argument("--version", action="version", version=f"tensormoe {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="train the same layers in PyTorch and JAX on digits")
    demo.add_argument("--picture", type=Path, default=Path("results/demo.png"), help="where to save it")
    demo.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    demo.add_argument("--epochs", type=int, help="passes over the training images")
    demo.set_defaults(run=_demo)

    plan = _layer_command(commands, "plan", "print how a layer is computed and what that costs")
    _add_batch(plan)
    plan.set_defaults(run=_plan)

    check = _layer_command(commands, "verify", "prove that a layer is the soft MoE that it stands for")
    check.add_argument("--backends", default="numpy,torch,jax", help="default: numpy,torch,jax")
    check.add_argument("--level", default="all", choices=(*LEVELS, "all"), help="default: all")
    _add_report(check)
    check.set_defaults(run=_verify)

    speed = _layer_command(commands, "bench", "time a layer beside an MLP and its bare matrix products")
    speed.add_argument("--backend", help="default: the first of torch, jax, numpy that is installed")
    _add_batch(speed)
    speed.add_argument("--training", action="store_true", help="time gradients as well")
    speed.add_argument("--device", help="such as cpu or cuda (default: a GPU where there is one)")
    speed.add_argument("--threads", type=int, help="of PyTorch")
    speed.add_argument("--rounds", type=int, default=15, help="at most (default: 15)")
    _add_report(speed)
    speed.set_defaults(run=_bench)
    return parser


def _layer_command(commands: "_Commands", name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        # A bond named b is not short for --backends.
        allow_abbrev=False,
        description=_SPEC % {"command": name},
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("layer", help="a JSON file, or index notation")
    parser.add_argument("--experts", help="with notation: N, or one count for each level, as 16,16")
    parser.add_argument("--in", dest="in_features", type=int, help="with notation: input features")
    parser.add_argument("--out", dest="out_features", type=int, help="with notation: output features")
    parser.add_argument("--no-bias", dest="bias", action="store_false", help="with notation: no bias")
    return parser


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=1024, help="input vectors (default: 1024)")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the report as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the random values (default: 0)")


def _demo(options: argparse.Namespace, rest: list[str]) -> int:
    _no_more(rest)
    epochs = None if options.epochs is None else positive_integer("--epochs", options.epochs)
    try:
        from .demo import EPOCHS, run

        passed = run(options.picture, options.dtype, EPOCHS if epochs is None else epochs)
    except ImportError as error:
        remedy = f'it needs more packages ({error}): pip install "tensormoe[demo]"'
        raise TensorMoEError("command", "demo", remedy) from error
    return 0 if passed else 1


def _plan(options: argparse.Namespace, rest: list[str]) -> int:
    print(_spec(options, rest).plan(options.batch))
    return 0


def _verify(options: argparse.Namespace, rest: list[str]) -> int:
    _check_place(options.json)
    backends = tuple(options.backends.split(","))
    report = verify(_spec(options, rest), backends, options.seed, level=options.level)
    _show(report, options.json)
    return 0 if report.passed else 1


def _bench(options: argparse.Namespace, rest: list[str]) -> int:
    _check_place(options.json)
    report = bench(
        _spec(options, rest),
        options.backend,
        options.batch,
        training=options.training,
        device=options.device,
        threads=options.threads,
        seed=options.seed,
        rounds=options.rounds,
    )
    _show(report, options.json)
    return 0


def _spec(options: argparse.Namespace, rest: list[str]) -> Spec:
    path = Path(options.layer)
    if path.suffix == ".json":
        _no_more(rest)
        return spec_from_json(_text(path))
    for flag, name in {"--experts": "experts", "--in": "in_features", "--out": "out_features"}.items():
        if getattr(options, name) is None:
            raise TensorMoEError(flag, None, "index notation needs --experts, --in and --out")
    experts = tuple(_integer("--experts", count) for count in options.experts.split(","))
    network = TensorNetwork(options.layer, **_bonds(rest))
    return MuMoESpec(options.in_features, options.out_features, experts, network, bias=options.bias)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TensorMoEError("layer", str(path), f"the file cannot be read ({error})") from error


def _check_place(path: Path | None) -> None:
    """Raise the error of a report that has no place, before it is made."""
    if path and (path.is_dir() or not path.parent.is_dir()):
        raise TensorMoEError("--json", str(path), "name a file in a folder that exists")


def _show(report: VerificationReport | BenchReport, path: Path | None) -> None:
    print(report)
    if path is None:
        return
    try:
        path.write_text(report.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise TensorMoEError("--json", str(path), f"the file cannot be written ({error})") from error


def _bonds(rest: list[str]) -> dict[str, int]:
    """Bond sizes from words such as --r 64 or --r=64."""
    words = [part for word in rest for part in word.split("=", 1)]
    names, values = words[::2], words[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise TensorMoEError("bonds", " ".join(rest), "give each bond its size, as --r 64")
    if len(set(names)) < len(names):
        raise TensorMoEError("bonds", " ".join(rest), "give each bond one size")
    return {name.removeprefix("--"): _integer(name, value) for name, value in zip(names, values, strict=True)}


def _integer(argument: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise TensorMoEError(argument, text, "pass a positive integer") from error


def _no_more(rest: list[str]) -> None:
    if rest:
        raise TensorMoEError("arguments", " ".join(rest), "these words are not known here: see --help")
