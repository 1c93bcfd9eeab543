"""Enlarges pictures by a student: files, folders, their names. Imports results and below."""
