"""What a study's numbers can tell: importance of settings, rungs, wobble. Imports numpy alone."""
