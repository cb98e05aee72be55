"""What this package promises, checked by the contracts that scrutiny ships."""

from scrutiny_acme.baseline import TopGenes
from scrutiny_acme.metric import centroid_accuracy
from scrutiny_acme.model import HashNet
from scrutiny_acme.predictor import HalfWay
from scrutiny_acme.task import UnseenBatches

from scrutiny.core.registry import METHODS
from scrutiny.testing import parametrize_with_checks


@parametrize_with_checks([HashNet, HalfWay, TopGenes, METHODS.get("hvg_pca+acme/angle"), centroid_accuracy, UnseenBatches])
def test_contract(check):
    check()
