"""Pictures: comparison panels and Pareto plots. Imports cli."""
