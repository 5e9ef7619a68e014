"""What happens around a training: checkpoints that are whole or absent, publishing, progress, stopping between steps."""
