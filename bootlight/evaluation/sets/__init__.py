"""The images that are measured: of folders, zips and runs, and what is to be said of them."""
