"""Nothing: dvc.yaml expects the folder of every dataset."""
