"""The commands on models: as a person uses them, on the folders of the reference fixtures and on damaged ones."""

import json
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.cli.declaring import models_of
from scrutiny.cli.models import licence_code
from scrutiny.cli.running import usual_jobs
from scrutiny.core.errors import InputError, MissingDependency, NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.data import checkpoints as table
from scrutiny.data import download as transfer
from scrutiny.data.checkpoints import File, checkpoints, default_checkpoints
from scrutiny.data.synth import planted
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.study import MINIS, Study
from scrutiny.methods.foundation.recognise import TELLING, family_of
from scrutiny.nets.folder import CONVERTED

FIXTURES = {family: family for family in TELLING if family != "geneformer"} | {"geneformer_v1": "geneformer", "geneformer_v2": "geneformer"}
WIDE = {"COLUMNS": "240"}


def said(*arguments):
    """What a command prints; its errors come as they are."""
    done = CliRunner().invoke(app, ["models", *map(str, arguments)], env=WIDE, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def copied(shared, tmp_path):
    """A copy of the folder of a fixture, complete as a fetched one would be."""

    def copy(name):
        folder = shutil.copytree(shared / "parity" / name, tmp_path / name, ignore=shutil.ignore_patterns("cells.h5ad", "expected.npz"))
        if name == "scfoundation":
            shutil.copy(shared / "reference-data" / name / "OS_scRNA_gene_index.19264.tsv", folder)
        return folder

    return copy


def test_every_published_checkpoint_is_listed_with_what_binds_it():
    text = said("list")
    lines = {line.split()[0].rstrip("*"): line for line in text.splitlines() if line.split()}
    assert set(checkpoints()) <= set(lines)
    for name, known in checkpoints().items():
        card = METHODS.get(known.family).card.model
        assert ("non-commercial" in lines[name]) == (card.commercial is False), name
        assert ("by hand" in lines[name]) == bool(known.by_hand), name
        assert lines[name].split()[-2 - bool(known.by_hand)] in ("no", "yes"), name
    assert "non-commercial" in lines["scfoundation-100m"]
    assert [licence_code(METHODS.get(family).card.model) for family in ("uce", "geneformer", "scgpt")] == [
        "MIT",
        "Apache-2.0",
        "none stated",
    ]


def test_the_list_has_one_line_a_checkpoint_in_a_narrow_terminal():
    text = CliRunner().invoke(app, ["models", "list"], env={"COLUMNS": "80"}, catch_exceptions=False).output
    assert len(text.splitlines()) < len(checkpoints()) + len(MINIS) + 13
    for name in checkpoints():
        assert [
            line
            for line in text.splitlines()
            if line.split()[:1] in ([name], [name + "*"]) and line.rstrip().endswith(("fetch", "by hand"))
        ]


@pytest.mark.parametrize("name", MINIS)
def test_the_small_models_of_the_package_are_listed_and_shown(name):
    (line,) = (line for line in said("list").splitlines() if line.split()[:1] == [name])
    assert line.split()[1:] == ["1.9", "M", *line.split()[3:5], "BSD-3-Clause", "yes", "packaged"]
    assert 3 < float(line.split()[3]) < 6  # MB: 1.9 M numbers of 2 bytes
    text = " ".join(said("show", name.upper()).split())
    for part in (METHODS.get(name).card.citation.split(",")[0], "demonstration size", "pooling", f"--model {name}", "allowed"):
        assert part in text, part
    assert "pbmc3k seen manifest of its corpus" in text and "kang_ifnb not listed" in text
    assert f"{name} comes with scrutiny" in said("fetch", name)


def test_a_fetch_lists_all_files_before_it_fails(monkeypatch, tmp_path):
    files = (File("genes.tsv", url="http://127.0.0.1:9/genes.tsv"), File("model.pt", by_hand="https://example.org/drive"))
    monkeypatch.setattr(
        table, "checkpoints", lambda: {"scgpt-toy": table.Checkpoint("scgpt-toy", "scgpt", "a toy", "1 M", files, "made up.")}
    )
    monkeypatch.setattr(transfer.time, "sleep", lambda _: None)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "model.pt").write_bytes(b"weights")
    done = CliRunner().invoke(app, ["models", "fetch", "Scgpt-Toy", "--folder", str(tmp_path / "there")], env=WIDE)
    assert isinstance(done.exception, InputError) and "there is no connection" in str(done.exception)
    listed = " ".join(done.output.split())
    assert f"missing {tmp_path}/there/genes.tsv from http://127.0.0.1:9/genes.tsv" in listed
    assert f"here {tmp_path}/there/model.pt by hand from https://example.org/drive" in listed


@pytest.mark.parametrize("family", TELLING)
def test_the_card_of_a_family_is_shown_whole(family):
    text = " ".join(said("show", family.title()).split())
    card = METHODS.get(family).card
    for part in (card.model.title, card.model.code_licence, card.citation.split(",")[0], "compat", "get it"):
        assert part in text, part
    assert all(known.name in text for known in checkpoints().values() if known.family == family)


def test_a_checkpoint_is_shown_with_its_files_and_known_exposure():
    text = said("show", "scgpt-blood")
    assert "1kkug5C7NjvXIwQGGaGoqXTk_Lb_pDrBU" in text and "scgpt-brain" not in text
    assert "tabula_sapiens" in text and "seen" in text and "pooling" in text
    with pytest.raises(InputError, match=r"no checkpoint is called 'scgtp-blood'; did you mean \['scgpt-blood'"):
        said("show", "scgtp-blood")


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_folder_is_recognised_read_strictly_and_run(copied, fixture):
    text = said("check", copied(fixture))
    assert f"family {FIXTURES[fixture]}" in " ".join(text.split())
    for part in ("config", "parameters", "tensors used", "vocabulary", "key of the content", "\nOK: "):
        assert part in text, part


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_converted_folder_is_the_same_model(copied, fixture, tmp_path):
    folder = copied(fixture)
    assert "files converted" in said("convert", folder, tmp_path / "new")
    assert not {path.suffix for path in (tmp_path / "new").rglob("*")} & set(CONVERTED)
    before, after = (said("check", where).splitlines() for where in (folder, tmp_path / "new"))
    alike = ("family", "config", "parameters", "tensors used", "vocabulary", "vector of a cell")
    assert [line for line in before if line.strip().startswith(alike)] == [line for line in after if line.strip().startswith(alike)]


def test_a_fetched_checkpoint_is_loaded_by_its_name_and_by_that_of_the_family(copied, monkeypatch, tmp_path):
    monkeypatch.setattr(table, "models_folder", lambda: tmp_path / "models")
    with pytest.raises(NotApplicable, match="scrutiny models fetch geneformer"):
        METHODS.get("geneformer")().folder  # noqa: B018
    (tmp_path / "models").mkdir()
    folder = copied("geneformer_v2").rename(tmp_path / "models" / "geneformer-v2-104m")
    sizes = {path.name: {"size": path.stat().st_size, "sha256": ""} for path in folder.iterdir()}
    (folder / table.MANIFEST).write_text(json.dumps({"checkpoint": folder.name, "files": sizes}))
    assert METHODS.get("geneformer")().folder.path == folder
    assert METHODS.get("control/untrained_geneformer")("geneformer-v2-104m").folder.path == folder
    assert "geneformer-v2-104m " in [line for line in said("list").splitlines() if " yes " in line][0]


def test_a_tensor_too_few_or_too_many_is_named(copied):
    folder = copied("geneformer_v1")
    tensors = load_file(folder / "model.safetensors")
    some = "bert.embeddings.LayerNorm.weight"
    save_file({name: tensor for name, tensor in tensors.items() if name != some}, folder / "model.safetensors")
    with pytest.raises(InputError, match="missing.*norm"):
        said("check", folder)
    save_file({**tensors, "mine.weight": tensors[some].clone()}, folder / "model.safetensors")
    with pytest.raises(InputError, match="mine.weight"):
        said("check", folder)


def test_weights_that_are_not_finite_are_refused(copied):
    folder = copied("geneformer_v1")
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor * float("nan") if "word" in name else tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(InputError, match="not finite"):
        said("check", folder)


def test_a_folder_of_no_family_or_of_two_says_what_is_lacking(tmp_path):
    with pytest.raises(InputError, match="it has no files; the families are"):
        family_of(tmp_path)
    (tmp_path / "args.json").write_text("{}")
    with pytest.raises(InputError, match=r"it has args.json; scgpt lacks vocab.json"):
        family_of(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "best_model.safetensors").write_text("")
    with pytest.raises(InputError, match=r"config.json; scgpt lacks vocab.json; geneformer lacks token_dictionary\*.pkl"):
        family_of(tmp_path)  # the nearest family first, though a file of another is there
    with pytest.raises(InputError, match=r"args.json is a file; name the folder it lies in"):
        family_of(tmp_path / "args.json")
    for name in ("vocab.json", "models.safetensors"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="files of scgpt and scfoundation; name one with --family"):
        family_of(tmp_path)
    with pytest.raises(InputError, match="there is no family 'scgtp'"):
        said("check", tmp_path, "--family", "scgtp")
    with pytest.raises(InputError, match="there is no folder"):
        family_of(tmp_path / "none")


def test_files_of_another_family_than_named_are_told(tmp_path):
    for name in ("args.json", "vocab.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=r"lacks config.json, .*token_dictionary\*.pkl of geneformer; these look like files of scgpt"):
        said("check", tmp_path, "--family", "Geneformer")


def test_the_gene_list_of_scfoundation_is_asked_for_by_its_place(shared, monkeypatch, tmp_path):
    def offline(remote, folder, *, otherwise):
        raise InputError(f"there is no connection; put it there as {folder / remote.name}, {otherwise}")

    monkeypatch.setattr("scrutiny.methods.foundation.scfoundation.download", offline)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    folder = tmp_path / "a" / "b" / "c"
    shutil.copy(shared / "parity" / "scfoundation" / "models.ckpt", folder)
    with pytest.raises(InputError, match=rf"put it there as .*OS_scRNA_gene_index.19264.tsv, or in {folder}"):
        said("check", folder)


def test_a_model_is_named_by_family_checkpoint_or_folder(tmp_path):
    for name in ("args.json", "vocab.json"):
        (tmp_path / name).write_text("{}")
    for entry, meant in {
        "scGPT": Chosen("scgpt"),
        f"scGPT={tmp_path}": Chosen("scgpt", {"checkpoint": str(tmp_path)}),
        str(tmp_path): Chosen("scgpt", {"checkpoint": str(tmp_path)}),
        "Geneformer-V2-104M": Chosen("geneformer", {"checkpoint": "geneformer-v2-104m"}),
    }.items():
        assert models_of([entry], "auto", "float32") == [meant], entry


@pytest.mark.parametrize(
    ("entry", "refused"),
    [
        ("foo", r"no published model is called 'foo'; see `scrutiny models list`; expected .* or FAMILY=FOLDER"),
        ("scgtp", r"did you mean \['scgpt'.*FAMILY=FOLDER"),
        ("harmony", "harmony is not a published model; use --methods harmony"),
        (__file__, "is a file; name the folder it lies in"),
    ],
)
def test_what_is_no_model_is_refused_with_what_was_expected(entry, refused):
    with pytest.raises(InputError, match=refused):
        models_of([entry], "auto", "float32")


def test_a_refusal_is_one_line_and_exit_code_2(tmp_path):
    done = subprocess.run([sys.executable, "-m", "scrutiny", "models", "check", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("scrutiny: ") and len(done.stderr.splitlines()) == 1


def test_a_draft_is_written_from_a_table_of_genes(tmp_path):
    pytest.importorskip("torch")
    rows = [f"ENSG{i:011d}\tG{i}\tENSG{i:011d}\t1.5" for i in range(120)]
    (tmp_path / "genes.tsv").write_text("\n".join(["gene\tsymbol\tensembl_id\tmedian", *rows, "x\t\tENSG99999999999\t1"]))
    sizes = ("--size", "width=16", "--size", "layers=1", "--size", "values=none")
    text = said("draft", "scgpt", tmp_path / "draft", "--genes", tmp_path / "genes.tsv", *sizes)
    assert "is a draft of scgpt: width 16, layers 1, heads 4" in text and "1 of 121 genes are left out" in text
    assert json.loads((tmp_path / "draft/args.json").read_text())["embsize"] == 16
    with pytest.raises(InputError, match="--size is 'width'; expected NAME=VALUE"):
        said("draft", "scgpt", tmp_path / "other", "--genes", tmp_path / "genes.tsv", "--size", "width")
    with pytest.raises(InputError, match="nowhere.tsv is no table of genes"):
        said("draft", "scgpt", tmp_path / "other", "--genes", tmp_path / "nowhere.tsv")


def test_every_command_has_an_example():
    for command in ("list", "show", "fetch", "check", "convert", "draft"):
        assert f"scrutiny models {command}" in CliRunner().invoke(app, ["models", command, "--help"], env=WIDE).output


def test_every_family_can_be_recognised_and_has_a_default():
    assert set(TELLING) == set(default_checkpoints())
    for family in TELLING:
        try:
            assert METHODS.get(family).card.model is not None
        except MissingDependency as error:
            pytest.fail(f"{family}: {error}")


def test_models_on_an_accelerator_run_one_after_the_other(monkeypatch):
    torch = pytest.importorskip("torch")
    study = Study((planted(120, 30),), (Chosen("scgpt", {"checkpoint": "weights"}), Chosen("pca")))
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert usual_jobs(study) == 16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert usual_jobs(study) == 1
    on_cpu = Study((planted(120, 30),), (Chosen("scgpt", {"device": "cpu"}),))
    assert usual_jobs(on_cpu) == 16
