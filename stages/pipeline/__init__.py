"""All that is known here of DVC: stage names, dvc.lock, its commands, and what it does not promise to keep."""
