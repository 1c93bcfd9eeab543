"""Sends a study's ledger to MLflow, from a process of its own. Imports ledger and objectives."""
