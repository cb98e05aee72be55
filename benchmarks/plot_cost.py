"""Draw what scoring costs by the number of cells, from results/metrics_speed.jsonl: seconds an embedding and peak memory.

python benchmarks/plot_cost.py        writes results/metrics_cost.png
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    lines = [json.loads(line) for line in (RESULTS / "metrics_speed.jsonl").read_text("utf-8").splitlines()]
    figure, (time, memory) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for side, colour in (("scrutiny", "#05668d"), ("scib-metrics", "#9aa0a6")):
        latest = {line["cells"]: line for line in lines if line["side"] == side}
        cells = sorted(latest)
        seconds = [latest[n]["warm_s"] / latest[n]["embeddings"] for n in cells]
        time.loglog(cells, seconds, "o-", color=colour, label=side)
        memory.loglog(cells, [latest[n]["peak_memory_mb"] for n in cells], "o-", color=colour, label=side)
    time.set(xlabel="cells (50 dimensions)", ylabel="warm seconds an embedding, 2 cores")
    memory.set(xlabel="cells (50 dimensions)", ylabel="peak memory, MB")
    time.legend(frameon=False)
    figure.savefig(RESULTS / "metrics_cost.png", dpi=110)


if __name__ == "__main__":
    main()
