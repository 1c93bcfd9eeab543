"""Statistics of a study: importance of settings, rungs, wobble. Imports no other part."""
