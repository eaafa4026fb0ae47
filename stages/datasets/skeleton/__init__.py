"""CSV files of numbers: what `python -m stages.datasets new` copies, a small dataset that runs as it is."""
