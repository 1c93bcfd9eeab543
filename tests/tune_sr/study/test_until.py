import pytest
from events import added, as_read, ended, reported

from trainables.errors import ConfigError
from tune_sr.ledger.history import History
from tune_sr.objectives.objective import PSNR_ONLY
from tune_sr.objectives.score import Scorer
from tune_sr.study.settings import StudySettings
from tune_sr.study.until import UntilConfig, is_settled


def trials(*values):
    """Completed trials with these scores; None fails, ... still runs."""
    history = History()
    for number, value in enumerate(values):
        history.apply(as_read(added(number)))
        if value is None:
            history.apply(as_read(ended(number, "failed", "diverged")))
        elif value is not ...:
            history.apply(as_read(reported(number, 10, value, "complete")))
    return history


@pytest.mark.parametrize(
    ("values", "settled"),
    [
        ((), False),
        ((32.0, 31.0), False),  # as many as must not gain, and none before them
        ((32.0, 31.0, 32.01), True),
        ((32.0, 31.0, 32.03), False),  # gained more than 0.02 dB
        ((32.0, 31.0, 32.02), True),  # 0.02 dB is not more
        ((32.0, 32.5, 32.3, 32.4), True),  # none of the latest two beats 32.5
        ((32.0, 32.3, 32.5, 32.4), False),
        ((32.0, None, None), True),
        ((None, None, None), False),  # nothing to gain over
        ((32.0, 31.0, ..., 31.5), True),  # the running one does not count
        ((32.0, 31.0, ...), False),
    ],
)
def test_a_search_is_settled_once_the_latest_trials_gain_nothing(values, settled):
    until = UntilConfig(trials=2, gain_db=0.02)
    assert is_settled(until, trials(*values), Scorer(PSNR_ONLY)) is settled
    assert not is_settled(None, trials(*values), Scorer(PSNR_ONLY))


def test_the_setting_is_read_and_its_mistakes_are_refused():
    settings = StudySettings.from_dict({"until": {"trials": 3}})
    assert settings.until == UntilConfig(trials=3, gain_db=0.02)
    assert StudySettings.from_dict(settings.to_dict()) == settings
    with pytest.raises(ConfigError, match=r"study.until.trials: .*greater than or equal to 1"):
        StudySettings.from_dict({"until": {"trials": 0}})
