"""Several bootstrap runs, arms times seeds: running them, and the tables that compare them."""
