"""What may be wrong with a machine before a run is started on it, and the cure. Never imports lightning: see `packages`."""
