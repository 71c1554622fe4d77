"""Requests to a running lab: what it serves, what it refuses, and that nothing makes it hang."""

import asyncio
import json
import socket
from concurrent.futures import Future
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import pytest
from lab.test_form import FIELDS

import tensormoe as tm
from tensormoe.cli import main
from tensormoe.lab import server
from tensormoe.lab.serve import serve


def ask(
    address: str, method: str = "GET", path: str = "/", body: bytes = b"", **headers: str
) -> HTTPResponse:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, named)
    return connection.getresponse()


def show(address: str, forms: object) -> dict[str, Any]:
    response = ask(address, "POST", "/show", json.dumps(forms).encode(), content_type="application/json")
    assert response.status == 200
    answer: dict[str, Any] = json.loads(response.read())
    return answer


def test_the_page_allows_nothing_but_its_own_files(address: str) -> None:
    response = ask(address)
    assert response.status == 200
    assert "default-src 'none'; script-src 'self'" in response.headers["content-security-policy"]
    page = response.read().decode()
    assert "http:" not in page
    assert "https:" not in page
    assert "onclick" not in page


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "0.0.0.0"])
def test_a_name_that_points_here_is_refused(address: str, host: str) -> None:
    """Otherwise a page elsewhere could rebind its name to this machine and read the answers."""
    for method, path in (("GET", "/"), ("POST", "/show")):
        assert ask(address, method, path, b"[]", host=host, content_type="application/json").status == 400


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/server.py",
        "/lab.js/../form.py",
        "//etc/passwd",
        "/show",
    ],
)
def test_no_other_file_is_served(address: str, path: str) -> None:
    assert ask(address, path=path).status in (404, 405)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps([FIELDS]).encode(), "text/plain"),
        (b"[" * 16_000, "application/json"),
        (b"{", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (json.dumps([FIELDS] * 3).encode(), "application/json"),
        (b'["' + b"a" * 20_000 + b'"]', "application/json"),
    ],
)
def test_what_is_no_question_of_the_page_is_refused(address: str, body: bytes, kind: str) -> None:
    response = ask(address, "POST", "/show", body, content_type=kind)
    assert response.status == 400
    assert b"Traceback" not in response.read()


@pytest.mark.parametrize(
    "form", [None, 3, "x", [], {}, {**FIELDS, "notation": None}, {**FIELDS, "sizes": {}}]
)
def test_forms_of_another_shape_get_an_error_as_text(address: str, form: object) -> None:
    (layer,) = show(address, [form])["layers"]
    assert "received" in layer["error"]


def test_answers_are_the_librarys(address: str) -> None:
    (layer,) = show(address, [FIELDS])["layers"]
    network = tm.TensorNetwork("n1 r, n2 r, i r, r o", r=5)
    assert tm.spec_from_json(layer["json"]) == tm.MuMoESpec(8, 6, (4, 3), network)


def test_what_takes_too_long_is_given_up_and_the_next_question_answered() -> None:
    async def run() -> list[Any]:
        app = server.make_app()
        async with app.router.lifespan_context(app):
            short = await server._compute(app.state.pool, [FIELDS], 0.001)
            return [short, await server._compute(app.state.pool, [FIELDS], 60)]

    short, long = asyncio.run(run())
    assert "takes more than" in short["layers"][0]["error"]
    assert "json" in long["layers"][0]


def test_a_fault_of_ours_is_told_without_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def schedule(self, *_: object, **__: object) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(ZeroDivisionError("a fault"))
            return future

    view = asyncio.run(server._compute(Broken(), [FIELDS], 1))  # type: ignore[arg-type]
    assert view["layers"] == [
        {
            "error": "this could not be shown, which is a fault of ours: the terminal says more",
            "field": "notation",
        }
    ]
    assert "ZeroDivisionError('a fault')" in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["lab", "--port", str(port), "--no-browser"]) == 2
    assert f"--port: received {port}; nothing can listen there" in capsys.readouterr().err
    for wrong in (-1, 70_000):
        with pytest.raises(tm.TensorMoEError, match="--port: received"):
            serve(wrong)


@pytest.mark.parametrize("missing", ["pebble", "starlette.applications", "uvicorn", "networkx"])
def test_missing_packages_are_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    monkeypatch.delitem(__import__("sys").modules, "tensormoe.lab.server", raising=False)
    with pytest.raises(tm.TensorMoEError, match=r'pip install "tensormoe\[lab\]"'):
        serve(0, browser=False)
