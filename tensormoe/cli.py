"""The command line: `tensormoe demo | draw | plan | prove | check | verify | bench | …`."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TypeAlias

from . import __version__, explorer, interrupt, lab
from .arguments import (
    add_batch_size,
    add_layer_command,
    check_place,
    check_rest,
    read_network,
    read_shape,
    read_spec,
    split,
    whole,
)
from .benching import BenchReport, bench
from .checkpoints.checking import check_saved
from .drawing import draw
from .errors import TensorMoEError, positive_integer
from .reporting import Report, analyze
from .tables import fold
from .terminal import ERRORS
from .verification import METHODS, VerificationReport, verify
from .verification.coq.check import check_file
from .verification.proof.trace import ProofError
from .verification.prove import prove

_MOST_EPOCHS = 10_000

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words of the command line; by default the process's own.

    Returns:
        The exit status: 0, or 1 if a verification failed, or 2 for a mistake in the arguments or a file that
        cannot be read or written. Ctrl-C ends with 130, and a reader that has had enough, such as head, with
        141, as for any program.
    """
    _prepare_streams()
    try:
        return _run(arguments)
    except TensorMoEError as error:
        return _stop(f"tensormoe: {error}", 2)
    except KeyboardInterrupt:
        return interrupt.STATUS
    except BrokenPipeError:
        _leave_output()
        return 141
    except OSError as error:  # such as a full disk
        _leave_output()
        return _stop(f"tensormoe: {error}", 2)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options, rest = _parser().parse_known_args(arguments)
        status: int = options.run(options, rest)
        return status
    finally:
        # Here, where the error of a full disk or of a closed pipe can still be told.
        sys.stdout.flush()


def _prepare_streams() -> None:
    """Write other characters where a terminal lacks Σ or →, and nothing where a stream is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _stop(text: str, status: int) -> int:
    with suppress(OSError):
        print(text, file=sys.stderr)
    return status


def _leave_output() -> None:
    """Drop what could not be written; otherwise Python complains again while it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    description = "Factorized mixture-of-experts layers: μMoE, multilinear mixtures of experts."
    parser = argparse.ArgumentParser(prog="tensormoe", description=description)
    parser.add_argument("--version", action="version", version=f"tensormoe {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="train layers on digits, in PyTorch and in JAX if you have both")
    demo.add_argument("--picture", type=Path, default=Path("results/demo.png"), help="where to save it")
    demo.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    demo.add_argument("--epochs", type=whole, help="passes over the training images")
    demo.set_defaults(run=_demo)

    picture = commands.add_parser("draw", help="draw a layer's tensor network")
    picture.add_argument("layer", help="a JSON file, or index notation, which needs no sizes")
    picture.add_argument(
        "--picture", type=Path, required=True, metavar="FILE", help="such as network.svg, .pdf or .png"
    )
    picture.add_argument(
        "--levels", type=whole, help="with notation: levels of experts (default: those it names)"
    )
    picture.set_defaults(run=_draw)

    plan = add_layer_command(commands, "plan", "print how a layer is computed and what that costs")
    add_batch_size(plan, 1024)
    plan.set_defaults(run=_plan)

    proof = add_layer_command(commands, "prove", "print the proof that a layer's program is right")
    text = "where to write the proof as a certificate, which Coq checks"
    proof.add_argument("--coq", type=Path, metavar="FILE", help=text)
    proof.set_defaults(run=_prove)

    certificate = commands.add_parser("check", help="ask Coq whether certificates hold")
    text = "a file that tensormoe prove --coq wrote, or one of layers that were saved with certificates"
    certificate.add_argument("certificate", type=Path, help=text)
    certificate.set_defaults(run=_check)

    check = add_layer_command(
        commands, "verify", "verify that a layer computes the mixture of all its experts"
    )
    check.add_argument(
        "--method",
        action="append",
        help=f"some of {', '.join(METHODS)}: separated by commas, or the option repeated (default: all)",
    )
    check.add_argument(
        "--backend",
        action="append",
        help="separated by commas, or the option repeated (default: those that are installed)",
    )
    add_batch_size(check, 5)
    _add_report(check)
    check.set_defaults(run=_verify)

    speed = add_layer_command(commands, "bench", "time a layer against an MLP and its own matrix products")
    speed.add_argument("--backend", help="default: the first of torch, jax, numpy that is installed")
    add_batch_size(speed, 1024)
    speed.add_argument("--training", action="store_true", help="time gradients as well")
    speed.add_argument("--device", help="such as cpu or cuda (default: a GPU if there is one)")
    speed.add_argument("--threads", type=whole, help="how many threads PyTorch uses")
    speed.add_argument("--rounds", type=whole, default=15, help="the largest number of rounds (default: 15)")
    _add_report(speed)
    speed.set_defaults(run=_bench)
    for add in (_add_analyze, explorer.add_command, lab.add_command):
        add(commands)
    return parser


def _add_analyze(commands: "_Commands") -> None:
    text = "show what the experts of a saved layer do, as text, JSON and a page with pictures"
    look = commands.add_parser("analyze", help=text, description=text, allow_abbrev=False)
    look.add_argument("checkpoint", help="a file that tm.save wrote")
    look.add_argument(
        "data",
        help="an .npz file with x and possibly labels, groups, ids and names of classes; an .npy file of x; "
        "or a folder of images, with a folder for each class",
    )
    look.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder for the report")
    look.add_argument("--backend", default="numpy", help="what computes the layer (default: numpy)")
    look.add_argument("--layer", metavar="NAME", help="which of several layers of the checkpoint")
    add_batch_size(look, 1024)
    look.add_argument(
        "--threshold", type=float, default=0.5, help="the coefficient that counts as use (default: 0.5)"
    )
    look.add_argument("--image-shape", metavar="H,W", help="that inputs are images, in colour H,W,3 or 3,H,W")
    look.add_argument(
        "--classifier",
        action="store_true",
        help="outputs are logits of classes (default: if labels have as many classes as there are outputs)",
    )
    look.set_defaults(run=_analyze)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the report as JSON")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the random values (default: 0)")


def _demo(options: argparse.Namespace, rest: list[str]) -> int:
    check_rest(rest)
    epochs = None if options.epochs is None else positive_integer("--epochs", options.epochs)
    if epochs is not None and epochs > _MOST_EPOCHS:
        raise TensorMoEError("--epochs", epochs, f"the demonstration takes at most {_MOST_EPOCHS:,}")
    check_place("--picture", options.picture, make=True)
    try:
        from .demo import EPOCHS, run

        passed = run(options.picture, options.dtype, EPOCHS if epochs is None else epochs)
    except ImportError as error:
        remedy = f'it needs more packages ({error}): pip install "tensormoe[demo]"'
        raise TensorMoEError("command", "demo", remedy) from error
    return 0 if passed else 1


def _draw(options: argparse.Namespace, rest: list[str]) -> int:
    check_rest(rest)
    check_place("--picture", options.picture)
    figure = draw(read_network(options), levels=options.levels)
    try:
        figure.savefig(options.picture)
    except ValueError as error:
        remedy = "pass a file that ends in .png, .svg or .pdf"
        raise TensorMoEError("--picture", str(options.picture), remedy) from error
    return 0


def _plan(options: argparse.Namespace, rest: list[str]) -> int:
    print(read_spec(options, rest).plan(options.batch_size))
    return 0


def _prove(options: argparse.Namespace, rest: list[str]) -> int:
    check_place("--coq", options.coq)
    spec = read_spec(options, rest)
    try:
        proof = prove(spec)
    except ProofError as error:
        return _stop(f"tensormoe: not proved: {error}", 1)
    if options.coq is not None:
        options.coq.write_text(proof.to_coq(), encoding="utf-8")
    print(proof)
    return 0


def _check(options: argparse.Namespace, rest: list[str]) -> int:
    check_rest(rest)
    check = check_file if options.certificate.suffix.lower() == ".v" else check_saved
    verdict = check(options.certificate)
    print(verdict)
    return 0 if verdict.passed else 1


def _verify(options: argparse.Namespace, rest: list[str]) -> int:
    check_place("--json", options.json)
    spec = read_spec(options, rest)
    methods = METHODS if options.method is None else split(options.method)
    backends = None if options.backend is None else split(options.backend)
    report = verify(spec, backends, options.seed, methods=methods, batch_size=options.batch_size)
    _show(report, options.json)
    return 0 if report.passed else 1


def _bench(options: argparse.Namespace, rest: list[str]) -> int:
    check_place("--json", options.json)
    report = bench(
        read_spec(options, rest),
        options.backend,
        options.batch_size,
        training=options.training,
        device=options.device,
        threads=options.threads,
        seed=options.seed,
        rounds=options.rounds,
    )
    _show(report, options.json)
    return 0


def _analyze(options: argparse.Namespace, rest: list[str]) -> int:
    check_rest(rest)
    report: Report = analyze(
        options.checkpoint,
        options.data,
        options.out,
        backend=options.backend,
        layer=options.layer,
        batch_size=options.batch_size,
        threshold=options.threshold,
        image_shape=None if options.image_shape is None else read_shape(options.image_shape),
        classifier=options.classifier,
    )
    print(report)
    print(fold(f"\nwritten to {options.out}: report.html, report.json"))
    return 0


def _show(report: VerificationReport | BenchReport, path: Path | None) -> None:
    """Write the report, then print it: whatever happens to one of the two, the other is there."""
    try:
        if path is not None:
            path.write_text(report.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise TensorMoEError(
            "--json", str(path), f"the file cannot be written ({error}): pass another path"
        ) from error
    finally:
        print(report)
