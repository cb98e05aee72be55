"""What `scrutiny check` says of real files."""

from scrutiny.data.checkup import checkup


def text(shared_data, name):
    return "\n".join(line for heading, lines in checkup(shared_data / name).items() for line in [heading, *lines])


def test_a_file_with_types_and_chemistries_gets_a_command_to_run(shared_data):
    said = text(shared_data, "pbmc_3chem_symphony.h5ad")
    assert "1,500 cells x 1,764 genes" in said
    assert "counts values" in said
    assert "T_CD4 474" in said, "sizes of types, as counted in SOURCES.md"
    assert said.endswith("scrutiny run FILE --label cell_type --batch batch")


def test_one_batch_and_no_label_are_said_plainly(shared_data):
    assert "Integration cannot be judged" in text(shared_data, "zheng_facs.h5ad")
    assert "label: no column looks like one" in text(shared_data, "pbmc_3chem_unlabelled.h5ad")


def test_a_large_file_is_told_to_be_sampled(shared_data):
    assert "sample of 5,000 of 7,458 cells" in text(shared_data, "pbmc_multistudy.h5ad")
