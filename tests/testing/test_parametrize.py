"""The decorator makes one test per thing and check, with names to read, skips and expected failures."""

import pytest

from scrutiny.core.registry import METRICS
from scrutiny.methods.controls import LabelOracle
from scrutiny.methods.linear import Depth
from scrutiny.tasks.cells import BatchMixing
from scrutiny.testing import parametrize_with_checks
from scrutiny.testing.annotator import ANNOTATOR_CHECKS
from scrutiny.testing.embedder import EMBEDDER_CHECKS
from scrutiny.testing.metric import METRIC_CHECKS
from scrutiny.testing.task import TASK_CHECKS

REASONS = {"control/label_oracle": {"check_subset": "its jitter follows the number of cells"}}


@parametrize_with_checks([Depth, LabelOracle, METRICS.get("asw_label"), BatchMixing], expected_failures=REASONS)
def test_contract(check):
    check()


def test_there_is_a_test_for_every_thing_and_check():
    parameters = test_contract.pytestmark[0].args[1]
    names = [parameter.id for parameter in parameters]
    assert len(names) == len(set(names)) == 2 * len(EMBEDDER_CHECKS) + len(METRIC_CHECKS) + len(TASK_CHECKS) + len(ANNOTATOR_CHECKS)
    assert "depth-check_row_order" in names
    assert "batch_mixing-check_truth_is_hidden" in names
    expected = [p.id for p in parameters if p.marks]
    assert expected == ["control/label_oracle-check_subset"]


def test_what_does_not_apply_is_skipped():
    by_name = {p.id: p.values[0] for p in test_contract.pytestmark[0].args[1]}
    with pytest.raises(pytest.skip.Exception, match="controls are shown the truth"):
        by_name["control/label_oracle-check_blind_to_labels"]()
