"""Which point comes next. Imports space, ledger and objectives; the only door of Optuna."""
