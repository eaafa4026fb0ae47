"""All that is known of DVC: its stages, dvc.lock, how it is called, and what of it is private."""
