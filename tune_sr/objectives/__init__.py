"""What counts as good: objectives and the Pareto front. Imports nothing of tune_sr."""
