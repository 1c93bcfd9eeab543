"""A study's results for notebooks: one line, the closing block, and two tables."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_sr.cli.formatting import short_names
from tune_sr.ledger.clock import StudyClock
from tune_sr.ledger.events import Event
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import is_started, read_events

if TYPE_CHECKING:
    import pandas as pd

    from tune_sr.results.results import Results

_COURSE = ("last", "gain", "state", "stopped_at", "needed", "seconds", "node")
_OF_A_REPORT = ("trial", "step", "minutes")
_NUMBERS = ("score", "last", "gain", "needed", "seconds")


@dataclass(frozen=True, repr=False)
class StudyResults:
    """The results of a study so far, finished or not, for notebooks.

    It has every attribute of `results.Results` besides its own: `best`, `first`, `front`,
    `summary()`, `score(record)`, `space`, `settings`. Those, the closing block and `trials_frame`
    read the configurations of the trials, so the first of them imports torch.
    """

    folder: Path
    history: History
    events: Sequence[Event]
    """The ledger's, oldest first."""

    def trials_frame(self) -> pd.DataFrame:
        """Make a table of the trials, by number; the index is the trial's name.

        One column for each searched quantity, by its short name, missing where it does not exist in
        the trial; a choice of words is categorical. Then `score` (dB, the best report after the
        student's last growth), `last` (dB, the last report), `gain` (dB over bicubic), `state`,
        `stopped_at` (the student update of the rung that stopped it) and `needed` (dB, there),
        `seconds` and `node`.
        """
        import pandas as pd

        results = self._results
        scores = {record.name: score.value for record, score in results.scored()}
        rows, dimensions = results.rows(), results.space.dimensions
        columns: dict[str, Any] = {}
        for path, name in self._names().items():
            values = pd.Series([row[path] for row in rows], dtype=None if rows else "float64")
            choices = dimensions[path].args if dimensions[path].distribution == "choice" else ()
            if any(isinstance(choice, str) for choice in choices):
                words = [choice for choice in choices if choice is not None]
                values = pd.Series(pd.Categorical(values, categories=words))
            columns[name] = values
        columns["score"] = [scores.get(row["trial"]) for row in rows]
        columns |= {name: [row.get(name) for row in rows] for name in _COURSE}
        columns["stopped_at"] = pd.array(columns["stopped_at"], dtype="Int64")
        frame = pd.DataFrame(columns).astype(dict.fromkeys(_NUMBERS, "float64"))
        return frame.set_index(pd.Index([row["trial"] for row in rows], name="trial", dtype=object))

    def curves_frame(self) -> pd.DataFrame:
        """Make a table of all reports, one row each: `trial`, `step`, `minutes`, every figure.

        `step` counts student updates, `minutes` the time that drivers had worked on the study by
        then. A figure is missing where a report has none.
        """
        import pandas as pd

        clock = StudyClock(self.events)
        rows = [
            {"trial": record.name, "minutes": clock.minutes(made.time), **made.report, "step": step}
            for record in sorted(self.history.trials.values(), key=lambda each: each.number)
            for step, made in sorted(record.reports.items())
        ]
        figures = (key for row in rows for key in row)
        return pd.DataFrame(rows, columns=list(dict.fromkeys((*_OF_A_REPORT, *figures))))

    def __repr__(self) -> str:
        records = self.history.trials.values()
        states = Counter(record.state or "running" for record in records)
        shown = ", ".join(f"{count} {state}" for state, count in states.items())
        how = "finished" if self.history.finished else "not finished"
        trials = f"{len(records)} trials" + (f" ({shown})" if shown else "")
        return f"<study {self.folder.absolute().name}, {how}: {trials}, in {self.folder}>"

    def _repr_html_(self) -> str:
        """Show what `search` prints at the end."""
        from tune_sr.results.summary_text import summary_text
        from tune_sr.study.config import StudyConfig

        results = self._results
        config = StudyConfig(results.space, results.settings, self.folder)
        return f"<pre>{html.escape(summary_text(config, results))}</pre>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what notebooks and pickle ask every object for
            raise AttributeError(name)
        return getattr(self._results, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._results)})

    def _names(self) -> dict[str, str]:
        """The column of each searched quantity, by dotted path."""
        names = short_names(self._results.space.dimensions)
        taken = {"trial", "score", *_COURSE}
        return {path: path if name in taken else name for path, name in names.items()}

    @cached_property
    def _results(self) -> Results:
        from tune_sr.results.results import Results
        from tune_sr.study.resume import load_stored_study

        return Results(self.folder, *load_stored_study(self.folder, self.events), self.history)


def load_results(folder: Path | str) -> StudyResults:
    """Load the results of the study in `folder`, finished or not, without importing torch.

    Raises:
        ValueError: there is none.
    """
    folder = Path(folder)
    events = read_events(folder)
    if not is_started(events):
        raise ValueError(f"{folder}: no study: no ledger in it begins one; name its folder")
    return StudyResults(folder, History.from_events(events), events)
