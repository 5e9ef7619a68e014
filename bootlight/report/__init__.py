"""What a run leaves for people: table, strip, curves, report; read from the disk alone."""
