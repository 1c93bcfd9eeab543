"""A study's folder on disk: file names, durable writing, lock. Imports no other part."""
