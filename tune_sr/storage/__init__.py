"""A study's folder on disk: file names, durable writing, lock. Imports nothing of tune_sr."""
