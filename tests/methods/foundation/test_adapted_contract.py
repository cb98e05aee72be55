"""What every method that tells labels must keep, kept by adapted nets: one that looks at cells alone, one at cells together."""

import pytest
from tiny_adapted import adapted, cells

from scrutiny.testing import check_label_predictor


@pytest.mark.parametrize(("family", "way"), [("geneformer", "lora"), ("cellplm", "full")])
def test_adapted_nets_keep_the_contract(family, way, tmp_path):
    data = cells(90, columns={"batch": [f"b{i // 3 % 3}" for i in range(90)]})
    check_label_predictor(lambda: adapted(family, way, tmp_path, epochs=2), data=data)
