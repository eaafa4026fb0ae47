"""How two versions of a dataset differ, and how val and test differ from train: see README.md of this folder."""
