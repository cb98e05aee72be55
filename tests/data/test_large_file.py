"""A file that is kept on disk is prepared in little memory. The full size is measured by benchmarks/large_file.py."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "large_file.py"
IN_CHUNKS = f"""
import json, runpy, sys
from pathlib import Path
import scrutiny.data.backed
scrutiny.data.backed.LARGEST_IN_MEMORY = 0
print(json.dumps(runpy.run_path({str(BENCHMARK)!r})["measure"](Path(sys.argv[1]))))
"""


def test_fifty_thousand_cells_from_disk(tmp_path):
    spec = importlib.util.spec_from_file_location("large_file", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    path = tmp_path / "cells.h5ad"
    benchmark.write_made_up(path, n_cells=50_000, n_genes=20_000, per_cell=200)
    done = subprocess.run([sys.executable, "-c", IN_CHUNKS, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["peak_mb"] < 800, "as a dense matrix it would be 4,000 MB"
