"""The papers' table of networks on benchmarks. Imports cli."""
