"""Texts in files of several kinds, in order; and the texts at hand."""

import io
import json
import tarfile
from pathlib import Path

import pytest

import tensormoe as tm
from benchmarks.experiments.data.corpus import read_corpus
from benchmarks.experiments.data.texts import hold_out, read_texts


def archive(path: Path, documents: dict[str, str]) -> None:
    with tarfile.open(path, "w:xz") as written:
        for name, text in documents.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            written.addfile(member, io.BytesIO(text.encode()))


def test_documents_come_from_files_lines_and_archives_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("first\nof two lines", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("zwölf", " ")))
    archive(
        tmp_path / "urlsf_subset00-1_data.xz", {"0-a.txt": "third", "notes.md": "no", "0-b.txt": "fourth"}
    )
    (tmp_path / "README.md").write_text("not a text")
    assert list(read_texts(tmp_path)) == ["first\nof two lines", "zwölf", "third", "fourth"]
    assert list(read_texts(tmp_path / "a" / "one.txt")) == ["first\nof two lines"]


def test_every_fifth_document_is_held_out() -> None:
    texts = [str(number) for number in range(11)]
    validation = list(hold_out(texts, 5, validation=True))
    assert validation == ["0", "5", "10"]
    assert sorted([*validation, *hold_out(texts, 5, validation=False)]) == sorted(texts)


def test_texts_that_are_not_as_expected_say_what_was_expected_where(tmp_path: Path) -> None:
    with pytest.raises(tm.TensorMoEError, match="there is no such file or folder"):
        read_texts(tmp_path / "nowhere")
    (tmp_path / "openwebtext.parquet").write_bytes(b"PAR1")
    with pytest.raises(tm.TensorMoEError, match=r"of 1 files there none ends in .txt, .jsonl, .tar"):
        read_texts(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"txt": "no"}\n')
    with pytest.raises(tm.TensorMoEError, match=r'a.jsonl.*expected a JSON object with "text" on each line'):
        list(read_texts(tmp_path))
    (tmp_path / "a.jsonl").unlink()
    archive(tmp_path / "a.xz", {"a.txt": " ".join(map(str, range(9000)))})
    (tmp_path / "a.xz").write_bytes((tmp_path / "a.xz").read_bytes()[:1000])
    with pytest.raises(tm.TensorMoEError, match=r"a.xz.*expected a tar archive with .txt files"):
        list(read_texts(tmp_path))
    archive(tmp_path / "a.xz", {"a.md": "text"})
    with pytest.raises(tm.TensorMoEError, match=r"a.xz.*none is in it"):
        list(read_texts(tmp_path))


def test_texts_at_hand_are_the_manual_and_docstrings() -> None:
    corpus = read_corpus(("rich",))
    assert {each.source for each in corpus} == {"python", "rich"}
    assert len({each.text for each in corpus}) == len(corpus)
    assert all(200 <= len(each.text) <= 4000 for each in corpus)
    by_name = {each.name: each.text for each in corpus}
    assert "The `assert` statement" in by_name["assert"] or '"assert" statement' in by_name["assert"]
    assert by_name["rich/console.py:print"].startswith("Print to the console")
    with pytest.raises(tm.TensorMoEError, match=r"packages: received 'no_such_package'; it is not installed"):
        read_corpus(("no_such_package",))
