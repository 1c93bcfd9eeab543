"""What counts as good: objectives, scores and the Pareto front. Imports ledger."""
