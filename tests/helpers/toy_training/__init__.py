"""A task on small arrays, to be laid into a copy of `stages` as the dataset `toy`."""
