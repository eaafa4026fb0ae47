"""What a trainer of Splendor moves needs: the model, its loss and metrics, and baselines; see `task`."""
