"""What the terminal shows."""

from made_stores import MadeStore, write
from rich.console import Console

from scrutiny.report.terminal import show


def shown(store, width: int = 120) -> str:
    console = Console(width=width, record=True, color_system=None, force_terminal=False)
    show(store, console)
    return console.export_text()


def test_verdict_table_and_recommendation(tmp_path):
    text = shown(write(tmp_path, MadeStore(with_outputs=False)))
    assert "Verdict" in text and "made · integration · labels cell_type" in text
    assert "use hvg_pca" in text or "use harmony" in text
    assert "control/shuffle" in text and "(0." in text


def test_a_narrow_terminal_and_markup_in_names(tmp_path):
    store = write(tmp_path, MadeStore(methods={"hvg_pca": 0.8, "[red]odd[/]": 0.7}, with_outputs=False))
    assert "[red]odd[/]" in shown(store, width=60)


def test_lost_methods_are_named(tmp_path):
    assert "Failed: scvi" in shown(write(tmp_path, MadeStore(failed={"scvi": "no memory"}, with_outputs=False)))
