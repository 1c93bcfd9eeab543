"""Searchers: propose the next point. Imports space, ledger and objectives; alone imports Optuna."""
