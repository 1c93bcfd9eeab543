"""What a study is before it runs. Imports searchers, schedulers and what they stand on."""
