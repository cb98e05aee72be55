import json
import time

import pytest

from scrutiny.engine.records import run_from_json
from scrutiny.engine.store import Store
from scrutiny.testing.checks import Outcome
from scrutiny.testing.store import STORE_CHECKS, check_store


class MakesFolders(Store):
    def __init__(self, folder):
        super().__init__(folder)
        self.folder.mkdir(parents=True, exist_ok=True)


class RoundsValues(Store):
    def _write(self, path, content):
        super()._write(path, json.loads(json.dumps(content), parse_float=lambda text: round(float(text))))


class Overwrites(Store):
    def done(self, key):
        return False


class CountsOnce(Store):
    def failures(self, key):
        return min(super().failures(key), 1)


class SkipsForGood(Store):
    def skip(self, run):
        self.put(run)


class DropsFailures(Store):
    def runs(self):
        return [run for run in super().runs() if run.status != "failed"]


class SortsCells(Store):
    def put_output(self, key, output, facts):
        order = output.cell_ids.argsort()
        super().put_output(key, type(output)(output.values, output.cell_ids[order]), facts)


class OneFile(Store):
    """Reads all, adds one, writes all: what others wrote in between is lost."""

    def _write(self, path, content):
        if path.parent.name == "runs":
            whole = path.with_name("all.json")
            known = json.loads(whole.read_text()) if whole.exists() else {}
            time.sleep(0.02)
            path.parent.mkdir(parents=True, exist_ok=True)
            whole.write_text(json.dumps({**known, path.stem: content}))
        else:
            super()._write(path, content)

    def runs(self):
        whole = self.folder / "runs" / "all.json"
        return [run_from_json(record) for record in json.loads(whole.read_text()).values()] if whole.exists() else super().runs()


BROKEN = {
    "check_reading_makes_nothing": MakesFolders,
    "check_runs_come_back": RoundsValues,
    "check_finished_runs_stay": Overwrites,
    "check_failures_are_counted": CountsOnce,
    "check_skipped_runs_are_open": SkipsForGood,
    "check_a_missing_number_has_a_row": DropsFailures,
    "check_outputs_come_back": SortsCells,
    "check_many_writers": OneFile,
}


def test_our_store_keeps_its_promises():
    assert {result.outcome for result in check_store(Store)} == {Outcome.PASSED}


@pytest.mark.parametrize("check", [check.__name__ for check in STORE_CHECKS])
def test_every_check_sees_a_store_that_breaks_it(check):
    results = {result.check: result for result in check_store(BROKEN[check], on_fail="report")}
    assert results[check].outcome is Outcome.FAILED, results[check]
