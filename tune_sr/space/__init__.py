"""What a study can try: dimensions, search spaces, their YAML. Imports nothing of tune_sr."""
