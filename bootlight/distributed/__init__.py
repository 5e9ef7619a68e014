"""What the processes of a run do together, and how they stop."""
