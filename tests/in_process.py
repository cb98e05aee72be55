"""Studies without child processes, each of which would load torch anew."""

from scrutiny.engine.execute import perform
from scrutiny.engine.study import Workers


class Here:
    """A pool that does each job in this process when it is submitted."""

    n_free = 1

    def __init__(self, datasets, setting):
        self.datasets, self.setting, self.told = datasets, setting, []

    def submit(self, job):
        said = []
        ended = perform(job, self.datasets[job.dataset], self.setting, said.append, alone=False)
        self.told += [(job, message) for message in (*said, ended)]

    def messages(self, timeout):
        told, self.told = self.told, []
        return told

    def stop(self):
        pass


def run(study, out, monkeypatch):
    """`Study.run` in this process; returns the store."""
    monkeypatch.setattr(Workers, "pool", lambda self, datasets, setting: Here(datasets, setting))
    return study.run(out, threads=1)
