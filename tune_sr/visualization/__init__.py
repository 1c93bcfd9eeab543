"""Draws comparison panels of images, and Pareto plots. Imports cli."""
