"""What a person at the terminal sees of a running study. Imports ledger, objectives and cli."""
