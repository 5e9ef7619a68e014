"""The command `bootlight`: answers help and usage errors without importing torch."""

import importlib
import os
import sys

from bootlight.errors import INTERRUPTED, BootlightError
from bootlight.terminal import close_streams, open_streams

VERBS = {
    "fit": ("bootlight.cli.fit", "run a bootstrap: train, synthesize, evaluate, mix, train again"),
    "sample": ("bootlight.cli.sample", "draw images from a trained generation"),
    "evaluate": ("bootlight.cli.evaluate", "measure images against real ones"),
    "compare": ("bootlight.cli.compare", "tell whether sets of images, or generations, differ"),
    "data": ("bootlight.cli.data", "check sets of images for duplicates and leaks; look at corrupted ones"),
    "study": ("bootlight.cli.study", "run several bootstraps, arms times seeds, and compare them"),
    "export": ("bootlight.cli.export", "write a trained generation as a folder of diffusers"),
    "import": ("bootlight.cli.import_", "make a run of a local folder of diffusers"),
    "report": ("bootlight.cli.report", "rebuild table, strip and report of a run"),
    "clean": ("bootlight.cli.clean", "remove what nobody needs any more, of runs and of the cache"),
    "weights": ("bootlight.cli.weights", "fetch the Inception weights that FID needs"),
    "check": ("bootlight.cli.check", "try a plug-in against what its kind promises"),
    "doctor": ("bootlight.cli.doctor", "look at this machine, and say what to mend before a run"),
}
HELP = "usage: bootlight VERB [options]\n\n{verbs}\n\nbootlight VERB --help says more about each.\n"


def main() -> None:
    """Run a verb; a `BootlightError` ends the program with its one line and status 1."""
    open_streams()
    try:
        answer(sys.argv[1:])
    finally:
        close_streams()


def answer(args: list[str]) -> None:
    """Run a verb, or say which there are.

    Raises:
        SystemExit: with a status of `errors`, or that of the verb.
    """
    if not args or args[0] in ("-h", "--help"):
        print(HELP.format(verbs="\n".join(f"  {verb:10}{text}" for verb, (_, text) in VERBS.items())), end="")
        return
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"bootlight {version('bootlight')}")
        return
    try:
        run_verb(args[0], args[1:])
    except BootlightError as error:
        print(f"bootlight: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def run_verb(verb: str, args: list[str]) -> None:
    """Import the module of a verb and hand it its arguments.

    Raises:
        BootlightError: no such verb, or whatever the verb finds wrong.
    """
    if verb not in VERBS:
        raise BootlightError(f"no verb {verb!r}; there are {', '.join(VERBS)}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a plug-in lies next to the config; last, so that nothing installed is shadowed
    importlib.import_module(VERBS[verb][0]).main(args)


if __name__ == "__main__":
    main()
