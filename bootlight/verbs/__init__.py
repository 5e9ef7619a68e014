"""The verbs beside `fit`, one file each: a function `main(args)`."""
