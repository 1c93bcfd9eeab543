"""Space, settings and configuration of a study. Imports searchers and schedulers, and no Ray."""
