"""Evaluation of networks on benchmarks: the papers' table. Imports cli."""
