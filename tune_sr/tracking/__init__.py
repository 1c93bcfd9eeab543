"""MLflow: a reader of the ledger. Imports ledger and storage."""
