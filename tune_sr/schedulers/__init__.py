"""Which trial goes on. Imports space, ledger and objectives."""
