"""The studies in examples/ are valid and name what exists."""

from pathlib import Path

import pytest

from scrutiny.core.registry import METHODS, TASKS
from scrutiny.data.catalog import catalog
from scrutiny.engine.study import Study

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_study_of_known_things(path):
    study = Study.from_toml(path)
    names = [method if isinstance(method, str) else method.name for method in study.methods]
    assert all(name in METHODS for name in names)
    assert all(name in TASKS for name in study.tasks)
    assert all(source.catalog in catalog() for source in study.datasets if source.catalog)
    assert f"scrutiny run examples/{path.name}" in path.read_text()
