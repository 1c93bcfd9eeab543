"""Searchers and schedulers compared on recorded learning curves, without training."""
