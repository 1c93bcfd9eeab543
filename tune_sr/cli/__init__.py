"""Shared by all commands: parser, exit codes, signals, formatting. Imports no other part."""
