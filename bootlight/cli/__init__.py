"""The command line: one file for each verb, a function `main(args)`."""
