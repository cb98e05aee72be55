"""Snapshots: whole or not there, the one before where the last is damaged, and a full disk that costs nothing finished."""

import multiprocessing
import resource

import pytest
import torch

from scrutiny.core.errors import InputError, StoreError
from scrutiny.tuning.snapshots import Snapshot, Snapshots, restore, restore_optimiser, tensors_of

SIZE = 50_000


def snapshot(number):
    return Snapshot({"module/w": torch.full((SIZE,), float(number))}, {"step": number, "best": float("inf"), "sums": {"train": 0.1 + 0.2}})


@pytest.fixture
def snapshots(tmp_path):
    """Three were put, of steps 1, 2 and 3."""
    made = Snapshots(tmp_path / "snapshots")
    for number in (1, 2, 3):
        made.put(number, snapshot(number))
    return made


def steps(snapshots):
    return [int(place.name.removeprefix("step-")) for place in sorted(snapshots.folder.iterdir())]


def test_the_last_two_are_kept_and_come_back_as_they_were(snapshots):
    assert steps(snapshots) == [2, 3]
    assert snapshots.last().state == snapshot(3).state
    assert torch.equal(snapshots.last().tensors["module/w"], snapshot(3).tensors["module/w"])


def test_the_best_is_kept_too(snapshots):
    snapshots.put(4, snapshot(4), keep=2)
    snapshots.put(5, snapshot(5), keep=2)
    assert steps(snapshots) == [2, 4, 5]
    assert snapshots.at(2).state["step"] == 2
    snapshots.put(6, snapshot(6), keep=6)
    assert steps(snapshots) == [5, 6]


def test_none_where_nothing_was_put(tmp_path):
    assert Snapshots(tmp_path / "nothing").last() is None


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [cut, flip, lambda file: file.unlink(), lambda file: file.write_bytes(b"")])
def test_of_a_damaged_one_the_one_before_is_taken(snapshots, damage, name):
    damage(snapshots.folder / "step-0000000003" / name)
    assert snapshots.last().state["step"] == 2


def test_nothing_begins_anew_unasked_where_all_are_damaged(snapshots):
    for place in snapshots.folder.iterdir():
        cut(place / "tensors.safetensors")
    with pytest.raises(InputError, match="no snapshot in .* is whole.*; remove it to train anew"):
        snapshots.last()


def test_the_best_that_is_damaged_is_an_error(snapshots):
    cut(snapshots.folder / "step-0000000002" / "tensors.safetensors")
    with pytest.raises(InputError, match="step-0000000002 is missing or damaged, and it holds the best weights"):
        snapshots.at(2)


def test_what_a_killed_process_left_half_written_is_not_seen_and_goes(snapshots):
    part = snapshots.folder / ".part"
    part.mkdir()
    (part / "tensors.safetensors").write_bytes(b"half")
    assert snapshots.last().state["step"] == 3
    snapshots.put(4, snapshot(4))
    assert not part.exists()


def put_where_files_may_not_grow(folder, told):
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))  # a quarter of what is needed
    try:
        Snapshots(folder).put(4, snapshot(4))
    except StoreError as error:
        told.send(str(error))


def test_a_full_disk_costs_nothing_finished_and_is_told(snapshots):
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=put_where_files_may_not_grow, args=(snapshots.folder, there))
    process.start()
    process.join()
    assert here.poll(), "the process died without a word"
    message = here.recv()
    assert "Earlier ones are kept: make room there" in message and "then give the same command again; it goes on" in message
    assert steps(snapshots) == [2, 3]
    assert snapshots.last().state["step"] == 3


def test_weights_and_moments_go_round():
    def trained(n_steps):
        module = torch.nn.Linear(3, 2)
        with torch.no_grad():
            module.weight.fill_(0.5), module.bias.fill_(0.1)
        adam = torch.optim.AdamW(module.parameters(), lr=0.1)
        for _ in range(n_steps):
            adam.zero_grad()
            module(torch.ones(3)).square().sum().backward()
            adam.step()
        return module, adam

    (module, adam), (other, other_adam) = trained(3), trained(0)
    found = tensors_of(module, adam)
    assert sorted(found) == [
        *(f"module/{name}" for name in ("bias", "weight")),
        *(f"optimiser/{name}/{what}" for name in ("bias", "weight") for what in ("exp_avg", "exp_avg_sq", "step")),
    ]
    restore(other, found)
    restore_optimiser(other, other_adam, found)
    again = tensors_of(other, other_adam)
    assert again.keys() == found.keys() and all(torch.equal(again[name], tensor) for name, tensor in found.items())


def test_a_snapshot_of_another_net_is_refused():
    with pytest.raises(InputError, match="the snapshot is of another net or objective"):
        restore(torch.nn.Linear(3, 2), {"module/other": torch.zeros(1)})
