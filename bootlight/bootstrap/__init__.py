"""The loop over generations and its stages; a configuration becomes objects."""
