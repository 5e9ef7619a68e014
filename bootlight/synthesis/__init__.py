"""Images from a trained generator: what is asked for, drawing, the folder that holds them, and which of them are kept."""
