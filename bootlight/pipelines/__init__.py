"""Folders of diffusers: what their parts mean here, read and written."""
