"""``tune``: a search over recipes with Optuna, by any number of workers that share one storage."""
