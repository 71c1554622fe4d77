"""Whatever stands on a command line or in its files, a command ends with a status and says what is wrong."""

import argparse
import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hostile.guards import limits
from hostile.values import BLOCKS, LAYERS
from hypothesis import given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.cli import _parser, main

# Demonstrations take seconds; the lab runs until Ctrl-C; what analyze reads is damaged in tests/reporting;
# draw takes no sizes.
(_COMMANDS,) = (each for each in _parser()._actions if isinstance(each, argparse._SubParsersAction))
OTHERS = ("demo", "draw", "analyze", "lab")
COMMANDS = {name: parser for name, parser in _COMMANDS.choices.items() if name not in OTHERS}
WRITING = ("-h", "--json", "--storage")
NOTATION = ["n r, i r, o r", "--experts", "4", "--in", "3", "--out", "2", "--bond", "r=2"]
QUICK = {
    "verify": ["--method", "proof", "--backend", "numpy"],
    "bench": ["--backend", "numpy", "--rounds", "1", "--batch-size", "2"],
}
WORDS = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1.5",
        "no",
        "nan",
        "1e9",
        "10**18",
        "1000000000000000000",
        "9" * 400,
        "9" * 6000,
        "4,4",
    ),
    *(
        "4,,4",
        ",",
        "1," * 2000 + "1",
        "r=",
        "=2",
        "r=2=3",
        "r=-1",
        "s=2",
        "n=3",
        "--",
        "-",
        "--r",
        "--r=",
        "--r=x",
    ),
    *("--bond", "--in", "--no-bias", "--r=3", "--json", "n r", "n r, i r, o s", "ni,io->no", "n r," * 2000),
    *("numpy,", "cuda", "proof,exact", "\ud800", "ä", "a\tb", "*", "/", ".", "/dev/null", "missing.json"),
)


def run(words: Sequence[str]) -> str:
    """Run a command; return what it says on standard error."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors), limits():
        try:
            status = main(words)
        except SystemExit as end:  # argparse
            status = end.code if isinstance(end.code, int) else 1
    said = errors.getvalue()
    assert status in (0, 1, 2), (words, status)
    assert status != 2 or said, words
    assert "Traceback" not in said
    assert len(said) < 5_000, said[:1_000]
    return said


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command line with one or two words replaced, left out or added."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    words = [command, *NOTATION, *QUICK.get(command, [])]
    options = [each.option_strings[0] for each in COMMANDS[command]._actions if each.option_strings]
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(1, len(words)))
        word = draw(st.sampled_from([*WORDS, *(each for each in options if each not in WRITING)]))
        kept = draw(st.integers(0, 1))
        words[place : place + kept] = draw(st.sampled_from([[word], []]))
    return words


@given(lines())
def test_a_command_line_is_run_or_refused(words: list[str]) -> None:
    run(words)


@pytest.mark.parametrize("word", WORDS)
def test_whatever_is_to_be_drawn_is_drawn_or_refused(word: str, tmp_path: Path) -> None:
    run(["draw", word, "--picture", str(tmp_path / "network.svg")])
    run(["draw", NOTATION[0], "--picture", str(tmp_path / "network.svg"), "--levels", word])
    run(["draw", NOTATION[0], "--picture", str(tmp_path / f"{word.replace('/', '')}.svg")])


@given(
    st.binary(max_size=200),
    st.sampled_from(["x.json", "x.JSON", "x.Json"]),
    st.sampled_from(sorted({*COMMANDS} - {"explore"})),
)
def test_a_file_of_anything_is_refused(content: bytes, name: str, command: str) -> None:
    folder = Path("/tmp") if Path("/tmp").is_dir() else Path.cwd()
    path = folder / f"tensormoe-{name}"
    path.write_bytes(content)
    try:
        told = run([command, str(path)])
        assert any(f"{argument}: received" in told for argument in ("layer", "text", "path"))
    finally:
        path.unlink()


def test_a_file_is_known_by_its_suffix_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "spec.JSON"
    path.write_text(LAYERS[0].to_json())
    assert run(["plan", str(path)]) == ""


@pytest.mark.parametrize(
    "name", ["a" * 300 + ".json", ".json/x.json", "folder.json", "missing.json", "a\0b.json"]
)
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    said = run(["plan", str(tmp_path / name)])
    assert said.startswith("tensormoe: layer: received")


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(2**33)
    assert "8,589,934,592 bytes" in run(["plan", str(path)])


@pytest.mark.parametrize("name", ["a" * 300, "missing/report", ".", "a\0b"])
def test_where_a_report_cannot_be_written_nothing_is_computed(name: str, tmp_path: Path) -> None:
    for command in ("verify", "bench"):
        said = run([command, *NOTATION, *QUICK[command], "--json", str(tmp_path / name)])
        assert said.startswith("tensormoe: --json: received")


@pytest.mark.parametrize("spec", [LAYERS[0], BLOCKS[0]])
@pytest.mark.parametrize(
    "words",
    [
        ["--in", "8"],
        ["--out", "8"],
        ["--experts", "4"],
        ["--no-bias"],
        ["--bond", "r=2"],
        ["--r", "2"],
        ["x"],
    ],
)
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_nothing_beside_a_file_is_ignored(
    command: str, words: list[str], spec: tm.Spec, tmp_path: Path
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(spec.to_json())
    assert words[0].removeprefix("--") in run([command, str(path), *words])


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_sizes_that_no_machine_holds_are_refused_by_what_they_need(command: str) -> None:
    words = ["n r, i r, o r", "--experts", "4", "--in", "1000000000000", "--out", "2", "--bond", "r=2"]
    extra = ["--method", "float", "--backend", "numpy"] if command == "verify" else QUICK["bench"]
    assert " TiB of memory" in run([command, *words, *extra])
