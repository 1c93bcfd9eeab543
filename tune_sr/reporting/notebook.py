"""A study's results for notebooks, with the page's plots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_sr.ledger.events import Event
from tune_sr.results.notebook import StudyResults
from tune_sr.results.notebook import load_results as load_plain

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tune_sr.results.results import Results


class NotebookResults(StudyResults):
    """The results of a study, with its tables and plots."""

    @property
    def plot(self) -> Plots:
        """The plots of the study's page: `plot("curves")`, or `plot.curves()`."""
        return Plots(self._results, list(self.events))


class Plots:
    """The plots of a study's page, as plotly figures that are made when they are asked for.

    Called with the name of a plot it makes that one; each name is a method, too, and an iteration
    yields them.
    """

    def __init__(self, results: Results, events: list[Event]) -> None:
        self._results, self._events = results, events

    def __call__(self, name: str, **settings: Any) -> go.Figure:
        """Make a plot by its name.

        Raises:
            ValueError: there is no such plot, or the study has nothing to draw in it yet.
        """
        from tune_sr.reporting.named_plots import PLOTS
        from tune_sr.reporting.study_data import StudyData

        if name not in PLOTS:
            raise ValueError(f"{name}: no plot; there are {', '.join(PLOTS)}")
        make, why_none = PLOTS[name]
        made = make(StudyData(self._results, self._events), **settings)
        if made is None:
            raise ValueError(f"{name}: nothing to draw: {why_none}")
        return made

    def curves(self) -> go.Figure:
        """Every trial's objective over student updates, with the rungs that stopped it."""
        return self("curves")

    def best_so_far(self) -> go.Figure:
        """The best score so far over the updates of all trials."""
        return self("best_so_far")

    def slices(self, quantity: str) -> go.Figure:
        """One quantity against the value at equal budget.

        Args:
            quantity: its short name or its dotted path.
        """
        return self("slices", quantity=quantity)

    def importance(self, update: int | None = None) -> go.Figure:
        """How much of the trials' order each quantity explains, with the band of chance.

        Args:
            update: the rung up to which trials are compared; None: the first.
        """
        return self("importance", update=update)

    def parallel(self) -> go.Figure:
        """A line for each trial over all quantities, coloured by its value at equal budget."""
        return self("parallel")

    def rungs(self) -> go.Figure:
        """How far the values at each rung told those at the end."""
        return self("rungs")

    def front(self) -> go.Figure:
        """Quality against cost, of a study with two objectives."""
        return self("front")

    def timeline(self) -> go.Figure:
        """Who worked when."""
        return self("timeline")

    def generator_change(self) -> go.Figure:
        """How far training moved the generators of a data-free method."""
        return self("generator_change")

    def __iter__(self) -> Iterator[str]:
        from tune_sr.reporting.named_plots import PLOTS

        return iter(PLOTS)


def load_results(folder: Path | str) -> NotebookResults:
    """Load the results of the study in `folder`, finished or not, without importing torch.

    `trials_frame()` and `curves_frame()` are pandas tables, `plot("curves")` and so on the plots of
    its page.

    Raises:
        ValueError: there is none.
    """
    found = load_plain(folder)
    return NotebookResults(found.folder, found.history, found.events)
