"""Networks in pure PyTorch; nothing here knows of Lightning, data or metrics."""
