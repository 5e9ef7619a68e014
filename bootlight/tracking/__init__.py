"""What a run leaves for people: curves, table, strip, report, W&B. The only place that imports wandb and matplotlib."""
