"""What a run is on disk: folders, manifests, configuration, references; and who may change what."""
