"""Every structure of the gallery has certificates. Coq checks a few; all, with the deep profile."""

import os
from collections.abc import Iterator

import pytest
from support.coq_session import objection
from support.coqc import needs_coq

import tensormoe as tm
from benchmarks.gallery.structures import STRUCTURES
from tensormoe.verification.coq.export import export


def certificates() -> Iterator[tuple[str, str]]:
    """The certificates of each layer of each structure by a name, those that differ."""
    made = set()
    for structure in STRUCTURES:
        for name, stage in structure.build().layers.items():
            text = export(stage.contraction, stage.programs[0][1])
            if text not in made:
                made.add(text)
                yield f"{structure.anchor}, {name}", text


TEXTS = dict(certificates())
# The first, and one that uses a core twice, on either side of a third.
SHORT = next(iter(TEXTS)), "rescal, cores"
CHECKED = TEXTS if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else SHORT


def test_the_certificates_are_of_the_structures_as_they_are_written() -> None:
    assert len(TEXTS) > 60
    structure = STRUCTURES[0]
    for stage in structure.build().layers.values():
        assert tm.prove(stage.contraction, stage.programs[0][1]).to_coq() in TEXTS.values()


@needs_coq
@pytest.mark.parametrize("name", CHECKED)
def test_coq_accepts_the_certificates_of_the_gallery(name: str) -> None:
    assert objection(TEXTS[name]) == ""
