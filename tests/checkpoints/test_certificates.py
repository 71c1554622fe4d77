"""A certificate beside a file of layers: saved with it, and told from any other."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from checkpoints.examples import BLOCK, LAYER, bits, draw
from checkpoints.sealing import part, seal
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.checkpoints.loading import read_certificates
from tensormoe.cli import main

TWO = {"a": tm.MuMoESpec(3, 2, 4, tm.CP(2)), "b": tm.MuMoESpec(3, 2, (4, 3), tm.CP(2))}


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit what a file says of its only layer, and seal it again."""
    header, rest = part(path.read_bytes())
    layers = json.loads(header["__metadata__"]["tensormoe.layers"])
    edit(layers["layers"][0])
    header["__metadata__"]["tensormoe.layers"] = json.dumps(layers)
    path.write_bytes(seal(header, rest))


def faults(path: Path) -> list[str]:
    return [certificate.fault for certificate in read_certificates(path)]


def test_a_certificate_is_written_beside_the_layer_and_belongs_to_it(tmp_path: Path) -> None:
    path, saved = tmp_path / "layer.safetensors", draw(LAYER)
    tm.save(saved, path, certificate=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["layer.safetensors", "layer.v"]
    proof = tm.prove(LAYER.contraction, LAYER.plan().program)
    assert (tmp_path / "layer.v").read_text(encoding="utf-8") == proof.to_coq()
    (certificate,) = read_certificates(path)
    assert (certificate.subject, certificate.fault) == ("layer", "")
    assert certificate.path == str(tmp_path / "layer.v")
    assert bits(tm.load_arrays(path).arrays()) == bits(saved.arrays())


def test_without_being_asked_for_there_is_none(tmp_path: Path) -> None:
    tm.save(draw(LAYER), tmp_path / "layer")
    assert [each.name for each in tmp_path.iterdir()] == ["layer"]
    with pytest.raises(
        tm.TensorMoEError, match=r"it was saved without a certificate: save it with certificate=True"
    ):
        read_certificates(tmp_path / "layer")
    with pytest.raises(tm.TensorMoEError, match="certificate: received 'yes'; pass True or False"):
        tm.save(draw(LAYER), tmp_path / "layer", certificate="yes")  # type: ignore[arg-type]


def test_each_layer_has_its_own_and_equal_ones_are_there_once(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    layers = {name: draw(spec) for name, spec in TWO.items()} | {"again": draw(TWO["a"], seed=1)}
    tm.save(layers, path, certificate=True)
    a, b, again = read_certificates(path)
    assert [a.path, b.path, again.path] == [str(tmp_path / f"model_{k}.v") for k in (1, 2, 1)]
    assert {each.fault for each in (a, b, again)} == {""}
    assert again.subject == "layer 'again'"
    assert len([*tmp_path.glob("*.v")]) == 2


def test_a_block_has_certificates_of_all_its_programs_and_of_its_layers(tmp_path: Path) -> None:
    tm.save(draw(BLOCK), tmp_path / "block", certificate=True)
    paths = {each.subject: Path(each.path) for each in read_certificates(tmp_path / "block")}
    programs = {"first": BLOCK.layers["first"].programs, "second": BLOCK.layers["second"].programs}
    expected = [
        f"layer, {name}" + (f", from batch size {least}" if least else "")
        for name, each in [*programs.items(), ("the block", BLOCK.programs)]
        for least, _ in each
    ]
    assert [*paths] == expected
    assert set(faults(tmp_path / "block")) == {""}
    largest = expected[-len(BLOCK.programs)]
    assert paths[largest].read_text(encoding="utf-8") == tm.prove(BLOCK).to_coq()


def test_any_other_file_is_told_from_the_certificate(tmp_path: Path) -> None:
    path, beside = tmp_path / "layer.safetensors", tmp_path / "layer.v"
    tm.save(draw(LAYER), path, certificate=True)
    kept = beside.read_bytes()
    beside.write_bytes(kept.replace(b"Closed", b"closed", 1))
    assert faults(path) == ["has changed, or is another one"]
    beside.unlink()
    assert faults(path) == ["is not there"]
    beside.write_text(tm.prove(TWO["a"]).to_coq(), encoding="utf-8")
    assert faults(path) == ["has changed, or is another one"]
    beside.write_bytes(kept)
    assert faults(path) == [""]


def test_a_certificate_of_another_specification_or_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layer"
    tm.save(draw(LAYER), path, certificate=True)
    kept = path.read_bytes()
    change(path, lambda layer: layer["certificates"].update(spec="0" * 64))
    assert faults(path) == ["is of another specification: save the layer again"]
    path.write_bytes(kept)
    change(path, lambda layer: layer["certificates"]["files"][0].update(program="0" * 64))
    assert faults(path) == ["is of another program than this version runs: save the layer again"]
    path.write_bytes(kept)
    change(path, lambda layer: layer["certificates"]["files"][0].pop("sha256"))
    with pytest.raises(tm.TensorMoEError, match="this describes no certificate"):
        read_certificates(path)


@needs_coq
def test_the_command_says_whether_certificates_belong_and_what_coq_says_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, beside = tmp_path / "layer.safetensors", tmp_path / "layer.v"
    tm.save(draw(TWO["a"]), path, certificate=True)
    assert main(["check", str(path)]) == 0
    first, *_, last = capsys.readouterr().out.strip().splitlines()
    assert first == "layer.v, for layer: belongs to this file"
    assert last == "Closed under the global context"
    text = beside.read_text(encoding="utf-8")
    beside.write_text(text.replace("multiply t1 t2", "multiply t1 t1"), encoding="utf-8")
    assert main(["check", str(path)]) == 1
    assert capsys.readouterr().out == "layer.v, for layer: has changed, or is another one\n"
    tm.save(draw(TWO["a"]), path)
    assert main(["check", str(path)]) == 2
    assert "it was saved without a certificate" in capsys.readouterr().err


@needs_coq
def test_a_certificate_that_coq_refuses_is_no_comfort(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, beside = tmp_path / "layer.safetensors", tmp_path / "layer.v"
    tm.save(draw(TWO["a"]), path, certificate=True)
    wrong = beside.read_bytes().replace(b"multiply t1 t2", b"multiply t1 t1")
    beside.write_bytes(wrong)
    change(path, lambda layer: layer["certificates"]["files"][0].update(sha256=sha256(wrong).hexdigest()))
    assert faults(path) == [""]
    assert main(["check", str(path)]) == 1
    assert "Coq refuses the file" in capsys.readouterr().out


def test_certificates_lie_beside_the_file_whatever_it_says(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "layer"
    path.parent.mkdir()
    tm.save(draw(LAYER), path, certificate=True)
    (tmp_path / "layer.v").write_bytes((path.parent / "layer.v").read_bytes())
    change(path, lambda layer: layer["certificates"]["files"][0].update(name="../layer.v"))
    (certificate,) = read_certificates(path)
    assert Path(certificate.path) == path.parent / "layer.v"
