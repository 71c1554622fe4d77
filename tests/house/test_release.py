"""What a release says of itself is true: versions, floors, packages."""

import re
import tomllib

from house.drawing import ROOT, SOURCES

import tensormoe as tm

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_floor_is_a_version_that_the_oldest_environment_has() -> None:
    wanted = [
        *PROJECT["dependencies"],
        *(EXTRAS[name] for name in ("torch", "jax", "demo", "testing", "test")),
    ]
    flat = [item for entry in wanted for item in ([entry] if isinstance(entry, str) else entry)]
    floors = dict(item.split(">=") for item in flat if ">=" in item)
    oldest = pins("constraints-oldest.txt")
    for package, floor in floors.items():
        assert re.sub(r"(\.0)+$", "", oldest[package]) == re.sub(r"(\.0)+$", "", floor), package


def test_what_the_integrations_need_is_pinned() -> None:
    packages = {re.split(r"[\[>=]", item)[0] for item in EXTRAS["integrations"]} - {"tensormoe"}
    assert packages <= pins("constraints.txt").keys()


def test_no_extra_for_one_framework_brings_the_other() -> None:
    for extra in ("torch", "demo", "testing", "test"):
        assert not re.search("jax|flax|optax", " ".join(EXTRAS[extra]))
    for extra in ("jax", "demo", "testing", "test"):
        assert "torch" not in " ".join(EXTRAS[extra])


def test_every_package_is_typed() -> None:
    for package, root in SOURCES.items():
        assert (root / package / "py.typed").is_file()


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {tm.__version__}\n" in citation
    assert PROJECT["urls"]["Homepage"] in citation
