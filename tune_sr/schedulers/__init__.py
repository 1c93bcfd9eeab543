"""Schedulers: which trial continues, stops or copies another. Imports space, ledger, objectives."""
