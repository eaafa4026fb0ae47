"""Nothing: dvc.yaml expects the file of every dataset."""
