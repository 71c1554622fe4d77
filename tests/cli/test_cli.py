import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.frameworks import BACKENDS

import tensormoe as tm
from tensormoe.cli import main
from tensormoe.verification import METHODS

NOTATION = ["n1 r, n2 r, i r, o r", "--experts", "4,3", "--in", "8", "--out", "6"]


def test_plan_of_notation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *NOTATION, "--r", "5", "--batch-size", "10"]) == 0
    spec = tm.MuMoESpec(8, 6, (4, 3), tm.TensorNetwork(NOTATION[0], r=5))
    assert capsys.readouterr().out == f"{spec.plan(10)}\n"


@pytest.mark.parametrize("name", ["MuMoESpec", "MuMoEBlockSpec"])
def test_commands_take_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = (8, 6) if name == "MuMoESpec" else (8, 7, 6)
    spec = getattr(tm, name)(*sizes, 4, tm.CP(5))
    path = tmp_path / "spec.json"
    path.write_text(spec.to_json())
    assert main(["plan", str(path)]) == 0
    assert capsys.readouterr().out == f"{spec.plan(1024)}\n"
    assert main(["verify", str(path), "--backend", ",".join(BACKENDS)]) == 0
    assert "comparisons hold" in capsys.readouterr().out


def test_verify_fails_with_status_one(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("tensormoe.verification.frameworks.TOLERANCE", 0.0)
    assert main(["verify", *NOTATION, "--r=5", "--no-bias", "--method", "frameworks"]) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        (["--method", "proof"], {"proof"}),
        (["--method", "exact,float"], {"exact", "float"}),
        (["--method", "float", "--method=frameworks", "--batch-size", "2"], {"float", "frameworks"}),
        ([], {*METHODS}),
    ],
)
def test_verify_takes_methods_and_writes_a_report(
    words: list[str], methods: set[str], tmp_path: Path, capsys
) -> None:
    path = tmp_path / "report.json"
    assert main(["verify", *NOTATION, "--r=5", "--backend", "numpy", *words, "--json", str(path)]) == 0
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["passed"] is True
    assert {check["method"] for check in data["checks"]} == methods
    assert f"{len(data['checks'])} of {len(data['checks'])} comparisons hold" in capsys.readouterr().out


def test_backends_may_be_repeated_or_separated_by_commas(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    repeated = [word for name in BACKENDS for word in ("--backend", name)]
    for words in (["--backend", ",".join(BACKENDS)], repeated):
        assert main(["verify", *NOTATION, "--r=5", "--method=float", *words, "--json", str(path)]) == 0
        checks = json.loads(path.read_text(encoding="utf-8"))["checks"]
        assert {check["subject"].split()[0] for check in checks} == {*BACKENDS}


def test_a_bond_may_have_the_name_of_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["n in, i in, o in", "--experts", "4", "--in", "8", "--out", "6"]
    assert main(["plan", *words, "--bond", "in=5"]) == 0
    spec = tm.MuMoESpec(8, 6, 4, tm.TensorNetwork(words[0], **{"in": 5}))
    assert capsys.readouterr().out == f"{spec.plan()}\n"


@pytest.mark.parametrize(
    "bonds", [["--bond", "r=2", "--bond=s=3"], ["--bond", "r=2", "--s", "3"], ["--r=2", "--s", "3"]]
)
def test_bonds_may_be_given_either_way(bonds: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["n r, i r s, o s", "--experts", "4", "--in", "8", "--out", "6"]
    assert main(["plan", *words, *bonds]) == 0
    spec = tm.MuMoESpec(8, 6, 4, tm.TensorNetwork(words[0], r=2, s=3))
    assert capsys.readouterr().out == f"{spec.plan()}\n"


def test_prove_prints_the_theorem(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", *NOTATION, "--bond", "r=5"]) == 0
    spec = tm.MuMoESpec(8, 6, (4, 3), tm.TensorNetwork(NOTATION[0], r=5))
    assert capsys.readouterr().out == f"{tm.prove(spec)}\n"


def test_a_certificate_is_written_and_checked_where_coq_is_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "layer.v"
    assert main(["prove", *NOTATION, "--bond", "r=5", "--coq", str(path)]) == 0
    spec = tm.MuMoESpec(8, 6, (4, 3), tm.TensorNetwork(NOTATION[0], r=5))
    assert path.read_text(encoding="utf-8") == tm.prove(spec).to_coq()
    assert capsys.readouterr().out == f"{tm.prove(spec)}\n"
    if shutil.which("coqc"):
        path.write_text("Definition certificate := (program_is_soft_moe).\n", encoding="utf-8")
        assert main(["check", str(path)]) == 1
        assert "Coq refuses the file" in capsys.readouterr().out
        assert main(["check", str(tmp_path / "none.v")]) == 2
    monkeypatch.setenv("PATH", "")
    assert main(["check", str(path)]) == 2
    assert "Coq is not installed, or coqc is not on PATH: apt install coq" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--experts", "4"], ["--in", "8"], ["--out", "8"], ["--no-bias"], ["--bond", "r=3"]]
)
def test_options_that_a_file_settles_are_refused(words: list[str], tmp_path: Path, capsys) -> None:
    path = tmp_path / "spec.json"
    path.write_text(tm.MuMoESpec(8, 6, 4, tm.CP(5)).to_json())
    assert main(["plan", str(path), *words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"tensormoe: {words[0]}: received")
    assert "omit" in shown


def test_draw_writes_a_picture(tmp_path: Path) -> None:
    path, spec = tmp_path / "network.svg", tmp_path / "spec.json"
    assert main(["draw", NOTATION[0], "--picture", str(path), "--levels", "2"]) == 0
    assert path.read_text().count("<svg") == 1
    spec.write_text(tm.MuMoEBlockSpec(5, 7, 6, 3, tm.CP(4)).to_json())
    path.unlink()
    assert main(["draw", str(spec), "--picture", str(path)]) == 0
    assert path.read_text().count("<svg") == 1


def test_a_proof_needs_no_framework() -> None:
    code = "import sys; from tensormoe.cli import main; main(sys.argv[1:])\n"
    code += "print({'torch', 'jax'} & {*sys.modules})"
    words = ["verify", "n r, i r, o r", "--r", "64", "--experts", "16,16", "--in", "768", "--out", "3072"]
    command = [sys.executable, "-c", code, *words, "--method", "proof"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "2 of 2 comparisons hold" in shown
    assert shown.endswith("set()\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", *NOTATION], "bond 'r' has no size: add --bond r=64"),
        (["plan", "CP", *NOTATION[1:]], "layer: received 'CP'; pass a JSON file, or index notation with"),
        (["plan", *NOTATION, "--r"], "give each bond its size"),
        (["plan", *NOTATION, "--r", "many"], "bond r: received 'many'"),
        (["plan", *NOTATION, "--r", "5", "--s", "3"], "unknown bond 's'"),
        (["plan", NOTATION[0], "--r", "5"], "needs --experts, --in and --out: add --experts"),
        (["plan", NOTATION[0], "--r", "5", "--experts", "4,x", "--in", "8", "--out", "6"], "received 'x'"),
        (["plan", *NOTATION, "--r", "5", "--batch-size", "0"], "batch_size: received 0"),
        (["plan", "missing.json"], "cannot be read"),
        (["plan", "missing.json", "--r", "5"], "unknown arguments"),
        (["verify", *NOTATION, "--r", "5", "--backend", "mxnet"], "choose one of"),
        (["plan", *NOTATION, "--r", "5", "--r", "6"], "give each bond exactly one size"),
        (["plan", *NOTATION, "--r", "5", "--bond", "r=6"], "give each bond exactly one size"),
        (["plan", *NOTATION, "--bond", "r"], "--bond: received 'r'; write a name and a size"),
        (["plan", *NOTATION, "--bond", "r=many"], "bond r: received 'many'"),
        (
            ["plan", *NOTATION, "--r", "5", "--fixed", "H"],
            "--fixed: received 'H'; write the name of each core",
        ),
        (
            ["plan", *NOTATION, "--r", "5", "--fixed", "H=dct", "--fixed", "H=dft"],
            "write the name of each core",
        ),
        (["plan", *NOTATION, "--r", "5", "--fixed", "H=hadamard"], "fixed: received 'H'"),
        (["plan", *NOTATION, "--r", "5", "--hidden", "9", "--shared", "B"], "shared"),
        (["verify", *NOTATION, "--r", "5", "--method", "prove"], "methods: received 'prove'"),
        (["verify", *NOTATION, "--r", "5", "--seed", "-1"], "seed: received -1"),
        (["verify", *NOTATION, "--r", "5", "--json", "no/such/report.json"], "in an existing folder"),
        (["verify", *NOTATION, "--r", "5", "--json", "/"], "in an existing folder"),
        (["demo", "--r", "5"], "unknown arguments"),
        (["draw", NOTATION[0], "--picture", "no/such/picture.png"], "in an existing folder"),
        (["draw", NOTATION[0], "--picture", "network.text"], "ends in .png, .svg or .pdf"),
        (["draw", "n r, i r", "--picture", "network.png"], "mode 'o' is in no core"),
        (["draw", NOTATION[0], "--r", "5", "--picture", "network.png"], "unknown arguments"),
        (["draw", "missing.json", "--picture", "network.png", "--levels", "2"], "omit --levels"),
        (["demo", "--epochs", "0"], "--epochs: received 0"),
    ],
)
def test_mistakes_have_status_two_and_one_line(arguments: list[str], said: str, capsys) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("tensormoe: ")
    assert shown.err.count("\n") == 1
    assert said in shown.err


def test_the_installed_command_and_the_module_run() -> None:
    command = Path(sys.executable).with_name("tensormoe")
    for start in ([str(command)], [sys.executable, "-m", "tensormoe"]):
        shown = subprocess.run([*start, "--version"], capture_output=True, text=True, check=True).stdout
        assert shown == f"tensormoe {tm.__version__}\n"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path, capsys) -> None:
    path = tmp_path / "spec.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert main(["plan", str(path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_demo_names_the_extra_that_it_needs() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\nfrom tensormoe.cli import main; sys.exit(main(['demo']))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 2
    assert shown.stderr.endswith('pip install "tensormoe[demo]"\n')
    assert "Traceback" not in shown.stderr
