"""Statistics of a study: importance of settings, rungs. Imports no other part."""
