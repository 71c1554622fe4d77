"""The command on real terminals and pipes: other characters, other widths, closed, full and interrupted."""

import ast
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from house.drawing import MODULES

import tensormoe as tm
from tensormoe.cli import main
from tensormoe.tables import _GLUE
from tensormoe.terminal import _SUBSTITUTES

WIDE = "n input_bond, input_bond another_bond, another_bond i output_bond, o output_bond"
SIZES = ["--experts", "4", "--in", "8", "--out", "6"]
LAYER = ["n r, i r, r o", "--r", "5", *SIZES]
QUICK = ["verify", *LAYER, "--method", "proof", "--backend", "numpy"]
COMMAND = [sys.executable, "-m", "tensormoe"]

# What a Python that knows no UTF-8 is told of its standard output.
PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENCODINGS = {
    "ascii": PLAIN | {"PYTHONIOENCODING": "ascii"},
    "latin-1": PLAIN | {"PYTHONIOENCODING": "latin-1"},
    "cp1252": PLAIN | {"PYTHONIOENCODING": "cp1252"},
    "C": PLAIN | {"LC_ALL": "C"},
}


def environment(**changes: str) -> dict[str, str]:
    unset = {"PYTHONUNBUFFERED", "PYTHONIOENCODING", "COLUMNS", "NO_COLOR", "FORCE_COLOR"}
    return {name: value for name, value in os.environ.items() if name not in unset} | changes


def start(words: Sequence[str], **options) -> subprocess.Popen[bytes]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment()} | options
    return subprocess.Popen([*COMMAND, *words], **options)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_that_is_printed_has_characters_that_the_terminal_has(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    code = f"""
import sys, tensormoe as tm
from tensormoe.cli import main
layer, quick = {LAYER!r}, {QUICK!r}
spec = tm.MuMoEBlockSpec(8, 7, 6, 4, tm.CP(5))
print(spec.plan(), tm.prove(spec), tm.verify(spec, backends=("numpy",), methods="exact"))
print(tm.bench(spec, "numpy", 2, rounds=1, seconds=0.001))
print(main(["plan", *layer]), main(["prove", *layer]), main(["plan", "n \\u03c1, i \\u03c1, o \\u03c1"]))
print(main([*quick, "--json", {str(path)!r}]))
print(tm.TensorMoEError("bond", None, "pass r=\\u2026"))
"""
    command, options = [sys.executable, "-c", code], {"env": environment(**ENCODINGS[encoding])}
    done = subprocess.run(command, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr.decode("ascii", "replace")
    shown = done.stdout.decode("ascii" if encoding == "C" else encoding)
    lacks_dots = encoding != "cp1252"
    assert shown.count("x[... i]" if lacks_dots else "x[… i]") == 3
    assert "matmul" in shown
    assert "sum(n i) W[n, i, o]" in shown
    assert "MLP: 8 -> 7 -> 6 with gelu" in shown
    assert "\n0 0 2\n" in shown
    assert shown.endswith("\n0\nbond: received None; pass r=" + ("...\n" if lacks_dots else "…\n"))
    assert json.loads(path.read_text(encoding="utf-8"))["passed"] is True
    assert b"\\u03c1" in done.stderr


def texts(path: Path) -> Iterator[str]:
    """The texts of a source file, but for its documentation."""
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def test_every_character_that_is_printed_has_a_substitute() -> None:
    """An escape is right for a bond's name, but no text of the library's own needs one."""
    # What is drawn or opened in a browser goes to no terminal.
    browsed = {("exploring", "report.py"), ("lab", "view.py")}
    printed = [
        path
        for path in MODULES.values()
        if not path.stem.startswith(("pictures", "pages")) and path.parts[-2:] not in browsed
    ]
    characters = {c for path in printed for text in texts(path) for c in text if not c.isascii()}
    assert {"→", "Σ"} <= characters
    assert characters - {*_SUBSTITUTES} == {_GLUE}


def test_columns_are_aligned_with_substitutes() -> None:
    """Substitutes are wider than what they stand for, and are there before columns are laid out."""
    done = subprocess.run(
        [*COMMAND, "plan", *LAYER], capture_output=True, env=environment(PYTHONIOENCODING="ascii"), check=True
    )
    _, head, rule, *steps = done.stdout.decode("ascii").split("\n\n")[0].splitlines()
    assert {len(line) for line in (head, rule, *steps)} == {len(rule)}
    assert {line.index("  m") for line in steps} == {head.index("kind") - 2}


@pytest.mark.parametrize("columns", [24, 40, 80, 100])
def test_on_a_narrow_terminal_lines_are_folded_and_nothing_is_cut(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tm.MuMoESpec(
        768,
        3072,
        256,
        tm.TensorNetwork(WIDE, **dict.fromkeys(("input_bond", "another_bond", "output_bond"), 9)),
    )
    plan, report = spec.plan(), tm.verify(spec, backends=("numpy",), methods=("proof", "exact"))
    whole = set(re.findall(r"[\w,.]+", f"{plan}\n{report}"))
    monkeypatch.setenv("COLUMNS", str(columns))
    folded = f"{plan}\n{report}"
    assert max(map(len, folded.splitlines())) <= columns
    # All words are there, but for those that are longer than a line.
    words = re.findall(r"[\w,.]+", folded)
    assert {word for word in whole if len(word) < columns - 6} <= {*words}
    assert "".join(folded.split()).count("another_bond") == "".join(f"{plan}{report}".split()).count(
        "another_bond"
    )


def test_without_a_terminal_each_row_is_one_line() -> None:
    bonds = [f"a_bond_with_a_long_name{number}" for number in range(8)]
    chain = ", ".join(["n " + bonds[0], *(f"{a} {b}" for a, b in pairwise(bonds))])
    spec = tm.MuMoESpec(
        8, 6, 4, tm.TensorNetwork(f"{chain}, {bonds[-1]} {bonds[0]} i o", **dict.fromkeys(bonds, 2))
    )
    plan = spec.plan()
    assert max(len(step.expression) for step in plan.steps) > 120
    lines = str(plan).splitlines()
    for number, step in enumerate(plan.steps, start=1):
        assert any(line.startswith(f" {number}  {step.expression} ") for line in lines)


def test_a_terminal_has_the_width_that_it_says() -> None:
    """In a real terminal of 50 columns, with no COLUMNS, where TERM is dumb."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    with start(["plan", *LAYER], stdout=terminal, env=environment(TERM="dumb")) as process:
        assert process.wait() == 0
    os.close(terminal)
    shown = os.read(reader, 100_000).decode()
    os.close(reader)
    assert max(map(len, shown.splitlines())) <= 50
    assert "peak live elements" in shown
    assert "\x1b" not in shown


def test_a_reader_may_stop_early() -> None:
    with start(["prove", *LAYER]) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("words", [["plan", *LAYER], ["--help"]])
def test_a_full_disk_has_status_two_and_one_line(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full, start(words, stdout=full) as process:
        said = process.stderr.read().decode()
    assert process.returncode == 2
    assert re.fullmatch(r"tensormoe: .*No space left on device\n", said)


def test_what_holds_is_written_whatever_becomes_of_the_output(tmp_path: Path) -> None:
    """Closed from the start, and closed by its reader."""
    for closed, status in (True, 0), (False, 141):
        path = tmp_path / f"{closed}.json"
        close = (lambda: os.close(1)) if closed else None
        with start([*QUICK, "--json", str(path)], preexec_fn=close) as process:
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == status
        assert json.loads(path.read_text(encoding="utf-8"))["passed"] is True


def test_a_report_that_cannot_be_written_is_printed_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--json", "/dev/full"]) == 2
    shown = capsys.readouterr()
    assert "2 of 2 comparisons hold" in shown.out
    assert "--json: received '/dev/full'" in shown.err


# A process that sends Ctrl-C to itself: while it imports, plans, verifies or trains.
INTERRUPTED = """
import os, signal, sys
def interrupt(*_, **__): os.kill(os.getpid(), signal.SIGINT)
class Finder:
    find_spec = staticmethod(lambda name, *_: interrupt() if name == {module!r} else None)
sys.meta_path.insert(0, Finder)
sys.argv = ["tensormoe", *sys.argv[1:]]
from tensormoe.cli import main
{change}
sys.exit(main())
"""
STAGES = {
    "import": (["--version"], "tensormoe.networks", ""),
    "plan": (["plan", *LAYER], "", "sys.modules['tensormoe.programs.plan'].find_path = interrupt"),
    "verify": (QUICK, "", "sys.modules['tensormoe.cli'].verify = interrupt"),
    "train": (
        ["demo", "--epochs", "1"],
        "",
        "import rich.progress, tensormoe.demo; rich.progress.Progress.advance = interrupt\n"
        "sys.modules['tensormoe.demo.run']._verify = lambda *_: True",
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_ends_with_status_130_and_no_traceback(stage: str, tmp_path: Path) -> None:
    words, module, change = STAGES[stage]
    command = [sys.executable, "-c", INTERRUPTED.format(module=module, change=change), *words]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_ctrl_c_from_outside_ends_the_demo(tmp_path: Path) -> None:
    with start(["demo", "--epochs", "1000"], cwd=tmp_path) as process:
        # Its first line comes once all is imported.
        assert process.stdout.readline().startswith(b"tensormoe ")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert said == ""


def test_a_program_that_imports_tensormoe_keeps_its_own_ctrl_c() -> None:
    code = "import signal, tensormoe; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_ctrl_c_ends_a_command_called_from_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tensormoe.cli._plan", interrupt)
    assert main(["plan", *LAYER]) == 130
