"""Where curves and scores go while a run is running: its own files, and W&B. The only room that imports wandb."""
