"""The command that serves the page."""

import argparse

from ..arguments import check_rest, whole
from .serve import PORT, serve


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lab` to the command line."""
    text = "serve a page, on this machine alone, on which you write notation and see the layer"
    parser = commands.add_parser("lab", help=text, description=text, allow_abbrev=False)
    parser.add_argument(
        "--port", type=whole, default=PORT, help=f"where to listen; 0 for any that is free (default: {PORT})"
    )
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="do not open the page")
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace, rest: list[str]) -> int:
    check_rest(rest)
    serve(options.port, browser=options.browser)
    return 0
