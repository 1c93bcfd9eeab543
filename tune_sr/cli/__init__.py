"""What the commands share: parser, exit codes, signals, formatting. Imports nothing of tune_sr."""
