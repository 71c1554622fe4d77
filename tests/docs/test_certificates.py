"""The page on certificates holds one, byte for byte, and Coq accepts what the page shows."""

import subprocess
from pathlib import Path

from support.certificate_page import PAGE, certificate, fill, shown
from support.coqc import needs_coq

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_blocks_of_the_page_are_the_certificate_that_its_code_makes() -> None:
    made = certificate(TEXT)
    assert shown(TEXT) == made, (
        "python -m support.certificate_page writes them anew; then read the explanations"
    )
    assert fill(TEXT.replace("semirings", "rings"), made) == TEXT.replace("semirings", "rings")


@needs_coq
def test_coq_accepts_the_file_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "layer.v").write_text(shown(TEXT), encoding="utf-8")
    done = subprocess.run(["coqc", "-q", "layer.v"], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Closed under the global context"
