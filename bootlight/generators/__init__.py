"""Generators: thin LightningModules over `networks` and `diffusion`; a new one subclasses `GeneratorModule` in a new file."""
