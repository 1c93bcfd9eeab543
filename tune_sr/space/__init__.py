"""Search spaces: their dimensions, points and YAML. Imports `tune_sr.cli` only."""
