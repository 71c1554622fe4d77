"""The page docs/certificates.md holds one certificate in full, in blocks with explanations between.

From the folder of tests, `python -m support.certificate_page` writes them anew. Each begins with the line
that it begins with now, and ends where the next one begins.
"""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "certificates.md"
_BLOCK = re.compile(r"^```coq\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def certificate(page: str) -> str:
    """What the page's first block of Python calls `certificate`."""
    namespace: dict[str, str] = {}
    code = _CODE.search(page)
    assert code is not None
    exec(code[1], namespace)
    return namespace["certificate"]


def shown(page: str) -> str:
    """The blocks of Coq of the page, one after the other."""
    return "".join(_BLOCK.findall(page))


def fill(page: str, text: str) -> str:
    """The page with the certificate cut where its blocks begin."""
    starts = [0]
    for block in _BLOCK.findall(page)[1:]:
        first = block.partition("\n")[0] + "\n"
        starts.append(text.index(f"\n{first}", starts[-1]) + 1)
    pieces = iter([text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)])
    return _BLOCK.sub(lambda _: f"```coq\n{next(pieces)}```\n", page)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(fill(text, certificate(text)), encoding="utf-8")
