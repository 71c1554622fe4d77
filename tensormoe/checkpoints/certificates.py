"""Certificates for Coq beside a file of layers: which belongs to which layer, by hashes."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from ..codec import Data, write_json
from ..errors import TensorMoEError
from ..layers.spec import Spec
from ..programs.program import Program
from ..verification.certificates import BLOCK, list_programs, write_certificate
from ..verification.proof.chain import prove_chain
from ..verification.prove import prove
from .files import explain, write_file
from .saved import Names, describe

# The field of a layer's entry in a file.
CERTIFICATES = "certificates"


@dataclass(frozen=True)
class Certificate:
    """A certificate that a file of layers names.

    Args:
        subject: what it is of.
        path: where it should be.
        fault: why it does not belong to the layer; "" if it does.
    """

    subject: str
    path: str
    fault: str

    def __str__(self) -> str:
        verdict = self.fault or "belongs to this file"
        return f"{os.path.basename(self.path)}, for {self.subject}: {verdict}"


@dataclass(frozen=True)
class _Part:
    """A program of a layer: of which stage or of the block, from which batch size on, and its certificate."""

    stage: str
    batch_size: int
    program: Program
    text: str


def certify(layers: Mapping[Names, Spec], target: str) -> tuple[dict[Names, Data], dict[str, str]]:
    """Prove the programs of layers.

    Args:
        layers: specifications by the names that lead to them.
        target: the path of the file that the certificates will be beside.

    Returns:
        What the file says of each layer's certificates, and the certificates by their paths. If several
        are equal, there is one of them.

    Raises:
        ProofError: a program that is not proved.
        TensorMoEError: a layer that certificates cannot speak about.
    """
    parts = {names: [*_prove(spec)] for names, spec in layers.items()}
    texts = [*dict.fromkeys(part.text for each in parts.values() for part in each)]
    stem = os.path.splitext(target)[0]
    # Coq takes no hyphen in the name of a file.
    paths = {text: f"{stem}_{number}.v" for number, text in enumerate(texts, 1)}
    if len(texts) == 1:
        paths = {texts[0]: f"{stem}.v"}
    entries: dict[Names, Data] = {
        names: {
            "spec": _hash_spec(layers[names]),
            "files": [_describe(part, os.path.basename(paths[part.text])) for part in each],
        }
        for names, each in parts.items()
    }
    return entries, {path: text for text, path in paths.items()}


def write_certificates(texts: Mapping[str, str]) -> None:
    """Write certificates to their paths, each whole or not at all."""
    for path, text in texts.items():
        write_file(path, [text.encode()])


def compare(names: Names, spec: Spec, note: object, target: str) -> Iterator[Certificate]:
    """Compare what a file says of a layer's certificates with what is beside it.

    The hash of each certificate must be the one that `certify` noted, the program one that this version of
    the library runs, and the specification that of the file.

    Args:
        names: those that lead to the layer.
        spec: its specification.
        note: what the file says.
        target: the path of the file.

    Raises:
        TensorMoEError: the layer was saved without certificates.
    """
    match note:
        case {"spec": str(digest), "files": list(files)}:
            for file in files:
                yield _compare(names, spec, file, target, digest == _hash_spec(spec))
        case _:
            remedy = "save it with certificate=True"
            raise TensorMoEError(describe(names), target, f"it was saved without a certificate: {remedy}")


def _prove(spec: Spec) -> Iterator[_Part]:
    contractions = [stage.contraction for stage in spec.layers.values()]
    for name, least, program in list_programs(spec):
        # A certificate is written only where its theorem is proved: the derivation itself is not needed.
        if name in spec.layers or spec.between is None:
            prove(spec.layers[name].contraction, program)
        else:
            prove_chain(contractions, spec.between, program)
        yield _Part(name, least, program, write_certificate(spec, name, program))


def _describe(part: _Part, name: str) -> Data:
    return {
        "name": name,
        "sha256": sha256(part.text.encode()).hexdigest(),
        "stage": part.stage,
        "batch_size": part.batch_size,
        "program": _hash_program(part.program),
    }


def _compare(names: Names, spec: Spec, file: object, target: str, same: bool) -> Certificate:
    match file:
        case {
            "name": str(name),
            "sha256": str(digest),
            "stage": str(stage),
            "batch_size": int(least),
            **rest,
        }:
            pass
        case _:
            raise TensorMoEError(CERTIFICATES, file, "this describes no certificate: save the layer again")
    part = {"cores": "", BLOCK: ", the block"}.get(stage, f", {stage}")
    subject = describe(names) + part
    subject += f", from batch size {least}" if least else ""
    path = os.path.join(os.path.dirname(target), os.path.basename(name))
    programs = {(part, size): program for part, size, program in list_programs(spec)}
    if not same:
        return Certificate(subject, path, "is of another specification: save the layer again")
    if (stage, least) not in programs or _hash_program(programs[stage, least]) != rest.get("program"):
        return Certificate(
            subject, path, "is of another program than this version runs: save the layer again"
        )
    return Certificate(subject, path, _find_fault(path, digest))


def _find_fault(path: str, digest: str) -> str:
    """Why what is at a path is not the text with this hash; "" if it is."""
    if not os.path.exists(path):
        return "is not there"
    with explain(path, "pass the path of a file that may be read"), open(path, "rb") as file:
        return "" if sha256(file.read()).hexdigest() == digest else "has changed, or is another one"


def _hash_spec(spec: Spec) -> str:
    return sha256(write_json(spec.to_dict()).encode()).hexdigest()


def _hash_program(program: Program) -> str:
    return sha256(repr((program.num_operands, program.instructions)).encode()).hexdigest()
