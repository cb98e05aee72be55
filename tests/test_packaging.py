"""What a newcomer relies on: the files that a fresh clone must hold, and pins that admit what the metadata asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(n): v for n, v in (line.split("==") for line in lines if line and not line.startswith("#"))}


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *(r for rs in project["optional-dependencies"].values() for r in rs)]
    return [Requirement(r) for r in listed if not r.startswith("scrutiny[")]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_each_requirement_is_pinned_within_its_range(requirement):
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_core_has_neither_torch_nor_copyleft():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {canonicalize_name(Requirement(r).name) for r in project["dependencies"]}
    assert not core & {"torch", "igraph", "leidenalg", "harmonypy", "scvi-tools"}


def test_no_machine_path_or_registry_host_is_named():
    machine = re.compile(r"(?<![\w.])/(work|farm|root)/|file:///(opt|srv)")
    for name in ("constraints.txt", "pyproject.toml", "Makefile", "README.md", ".ci/run"):
        assert not machine.search((ROOT / name).read_text()), name


def test_house_papers_are_there():
    for name in ("LICENSE", "CITATION.cff", "CHANGELOG.md", "docs/ARCHITECTURE.md", "docs/ADDING.md", "docs/METRICS.md"):
        assert (ROOT / name).stat().st_size > 300, name
