"""Every option of every command changes what the command is asked to do: none is parsed and then ignored."""

import argparse
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tensormoe as tm
import tensormoe.demo
from tensormoe import cli, lab

NOTATION = "A: n r, i r, o r"
BASE = {"--bond": "r=4", "--experts": "3", "--in": "5", "--out": "6"}


def layer(
    rank: int = 4, experts: int = 3, i: int = 5, o: int = 6, bias: bool = True, **fixed: str
) -> tm.MuMoESpec:
    return tm.MuMoESpec(i, o, experts, tm.TensorNetwork(NOTATION, r=rank, fixed=fixed), bias=bias)


def block(**options: Any) -> tm.MuMoEBlockSpec:
    return tm.MuMoEBlockSpec(5, 7, 6, 3, tm.TensorNetwork(NOTATION, r=4), **options)


# Of every command that takes a layer: an option's words, and the layer that they make.
OF_A_LAYER = {
    "--bond": (["--bond", "r=7"], layer(rank=7)),
    "--experts": (["--experts", "7"], layer(experts=7)),
    "--in": (["--in", "7"], layer(i=7)),
    "--out": (["--out", "7"], layer(o=7)),
    "--no-bias": (["--no-bias"], layer(bias=False)),
    "--hidden": (["--hidden", "7"], block()),
    "--gated": (["--hidden", "7", "--gated"], block(gated=True)),
    "--nonlinearity": (["--hidden", "7", "--nonlinearity", "silu"], block(nonlinearity="silu")),
    "--shared": (["--hidden", "7", "--shared", "A"], block(shared="A")),
    "--fixed": (["--fixed", "A=gaussian 3"], layer(A="gaussian 3")),
}
# Of one command: its words, and the argument that has another value than it has without.
OTHERS: dict[str, dict[str, tuple[list[str], str, object]]] = {
    "draw": {
        "--picture": (["--picture", "other.svg"], "fname", Path("other.svg")),
        "--levels": (["--levels", "3"], "levels", 3),
    },
    "plan": {"--batch-size": (["--batch-size", "7"], "batch_size", 7)},
    "prove": {},
    "check": {},
    "verify": {
        "--method": (["--method", "exact,float"], "methods", ("exact", "float")),
        "--backend": (["--backend", "numpy"], "backends", ("numpy",)),
        "--batch-size": (["--batch-size", "7"], "batch_size", 7),
        "--seed": (["--seed", "7"], "seed", 7),
    },
    "bench": {
        "--backend": (["--backend", "numpy"], "backend", "numpy"),
        "--batch-size": (["--batch-size", "7"], "batch_size", 7),
        "--training": (["--training"], "training", True),
        "--device": (["--device", "cpu"], "device", "cpu"),
        "--threads": (["--threads", "1"], "threads", 1),
        "--seed": (["--seed", "7"], "seed", 7),
        "--rounds": (["--rounds", "7"], "rounds", 7),
    },
    "demo": {
        "--picture": (["--picture", "other.png"], "path", Path("other.png")),
        "--dtype": (["--dtype", "float32"], "dtype", "float32"),
        "--epochs": (["--epochs", "7"], "epochs", 7),
    },
    "analyze": {
        "--out": (["--out", "other"], "out", "other"),
        "--backend": (["--backend", "torch"], "backend", "torch"),
        "--layer": (["--layer", "h.0"], "layer", "h.0"),
        "--batch-size": (["--batch-size", "7"], "batch_size", 7),
        "--threshold": (["--threshold", "0.25"], "threshold", 0.25),
        "--image-shape": (["--image-shape", "8,8,3"], "image_shape", (8, 8, 3)),
        "--classifier": (["--classifier"], "classifier", True),
    },
    "lab": {
        "--port": (["--port", "7"], "port", 7),
        "--no-browser": (["--no-browser"], "browser", False),
    },
}
EXPLORED = ["--in", "5", "--out", "6", "--experts", "3"]
OTHERS["explore"] = {
    "--in": (["--in", "7"], "like", tm.MuMoESpec(7, 6, 3, tm.Dense())),
    "--out": (["--out", "7"], "like", tm.MuMoESpec(5, 7, 3, tm.Dense())),
    "--experts": (["--experts", "7"], "like", tm.MuMoESpec(5, 6, 7, tm.Dense())),
    "--no-bias": (["--no-bias"], "like", tm.MuMoESpec(5, 6, 3, tm.Dense(), bias=False)),
    "--bond": (["--bond", "r=7"], "candidates", [tm.TensorNetwork(NOTATION, r=7)]),
    "--parameters": (["--parameters", "99"], "budgets", [tm.explore.Budget(parameters=99)]),
    "--macs": (["--macs", "99"], "budgets", [tm.explore.Budget(macs=99)]),
    "--seconds": (["--seconds", "0.5"], "budgets", [tm.explore.Budget(seconds=0.5)]),
    "--seeds": (["--seeds", "7"], "seeds", 7),
    "--cost": (["--cost", "memory,-psi"], "costs", ("memory", "-psi")),
    "--storage": (["--storage", "other.jsonl"], "path", Path("other.jsonl")),
    "--workers": (["--workers", "7"], "jobs", 7),
}
# What is done with the result, or with an array, and what a search has; tested in test_explore.py.
OF_A_STUDY = {"explore": {"--json", "--report", "--target", "--iterations", "--search", "--method"}}
OF_A_REPORT = {"verify": {"--json"}, "bench": {"--json"}}
OF_A_PROOF = {"prove": {"--coq"}}
LAYERED = [name for name in OTHERS if name not in ("demo", "draw", "analyze", "check", "explore", "lab")]


class Report:
    """What a command prints and writes in these tests."""

    passed = True

    def __str__(self) -> str:
        return "the report"

    def to_json(self) -> str:
        return '{"of": "the report"}'

    def savefig(self, fname: Path) -> None:
        """A figure is saved."""

    # Of a study.
    trials = complete = (tm.explore.Trial(layer()),)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The arguments of the function that a command comes down to; the function itself is not run."""
    given: dict[str, object] = {}

    def note(function: Callable[..., object], result: object) -> Callable[..., object]:
        def stand_in(*args: object, **options: object) -> object:
            bound = inspect.signature(function).bind(*args, **options)
            bound.apply_defaults()
            given.update(bound.arguments)
            return result

        return stand_in

    monkeypatch.setattr(Report, "savefig", note(Report.savefig, None))
    for name in ("draw", "verify", "bench", "prove", "analyze"):
        monkeypatch.setattr(cli, name, note(getattr(cli, name), Report()))
    monkeypatch.setattr(tm.explore, "sweep", note(tm.explore.sweep, Report()))
    monkeypatch.setattr(lab.command, "serve", note(lab.command.serve, None))
    monkeypatch.setattr(tensormoe.demo, "run", note(tensormoe.demo.run, True))
    for kind in (tm.MuMoESpec, tm.MuMoEBlockSpec):
        monkeypatch.setattr(kind, "plan", note(kind.plan, Report()))
    return given


def words(command: str, *changes: str) -> list[str]:
    if command in ("demo", "lab"):
        return [command, *changes]
    if command == "draw":
        return [command, NOTATION, *(changes if "--picture" in changes else ["--picture", "a.png", *changes])]
    if command == "analyze":
        return [command, "layer.safetensors", "inputs.npz", "--out", "folder", *changes]
    if command == "explore":
        return [command, NOTATION, *EXPLORED, *changes]
    kept = {flag: value for flag, value in BASE.items() if flag not in changes}
    return [command, NOTATION, *(word for pair in kept.items() for word in pair), *changes]


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    (action,) = (a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    yield from action.choices.items()


def test_every_option_of_every_command_is_here() -> None:
    assert {name for name, _ in commands()} == {*OTHERS}
    for name, parser in commands():
        flags = {flag for action in parser._actions for flag in action.option_strings} - {"-h", "--help"}
        result = {**OF_A_REPORT, **OF_A_PROOF, **OF_A_STUDY}.get(name, set())
        assert flags == {*OTHERS[name], *(OF_A_LAYER if name in LAYERED else ()), *result}


@pytest.mark.parametrize("command", LAYERED)
@pytest.mark.parametrize("flag", [None, *OF_A_LAYER])
def test_an_option_of_the_layer_makes_another_layer(command: str, flag: str | None, asked: dict) -> None:
    change, expected = OF_A_LAYER[flag] if flag else ([], layer())
    assert cli.main(words(command, *change)) == 0
    assert next(iter(asked.values())) == expected


@pytest.mark.parametrize("change", [["--gated"], ["--nonlinearity", "silu"], ["--shared", "A"]])
def test_only_a_block_takes_its_options(
    change: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words("plan", *change)) == 2
    assert "only a block has this: add --hidden" in capsys.readouterr().err
    path = tmp_path / "spec.json"
    path.write_text(block().to_json())
    assert cli.main(["plan", str(path), *change]) == 2
    assert "already sets this" in capsys.readouterr().err


@pytest.mark.parametrize("command", LAYERED)
def test_a_file_is_the_layer(command: str, asked: dict, tmp_path: Path) -> None:
    path, spec = tmp_path / "spec.json", layer(rank=7, experts=2, bias=False)
    path.write_text(spec.to_json())
    assert cli.main([command, str(path)]) == 0
    assert next(iter(asked.values())) == spec


@pytest.mark.parametrize(
    ("command", "flag"), [(command, flag) for command, flags in OTHERS.items() for flag in flags]
)
def test_an_option_changes_one_argument_and_no_other(command: str, flag: str, asked: dict) -> None:
    change, argument, value = OTHERS[command][flag]
    assert cli.main(words(command)) == 0
    before = dict(asked)
    assert before[argument] != value
    assert cli.main(words(command, *change)) == 0
    assert asked == {**before, argument: value}


@pytest.mark.parametrize("command", OF_A_REPORT)
def test_a_report_is_printed_and_written_where_it_is_wanted(
    command: str, asked: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    assert cli.main(words(command, "--json", str(path))) == 0
    assert json.loads(path.read_text(encoding="utf-8")) == {"of": "the report"}
    assert capsys.readouterr().out == "the report\n"


def test_what_is_asked_for_is_what_the_report_says(tmp_path: Path) -> None:
    """Once without stand-ins: seed, methods and backend as a reader of the JSON sees them."""
    path = tmp_path / "report.json"
    change = ["--seed", "7", "--method", "exact", "--backend", "numpy", "--no-bias", "--json", str(path)]
    assert cli.main(words("verify", *change)) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    assert (report["seed"], report["spec"]["bias"]) == (7, False)
    assert {check["method"] for check in report["checks"]} == {"exact"}
    other = tm.verify(layer(bias=False), ("numpy",), 7, methods=("exact",))
    assert [check["quantity"] for check in report["checks"]] == [check.quantity for check in other.checks]
