"""What happens around a generation's training: checkpoints, publishing, synthesis, evaluation, progress."""
