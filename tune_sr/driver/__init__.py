"""The driver: the process that runs a study or one training. Imports all other parts."""
