"""`bootlight clean [RUNS...] [--cache]`: remove what nobody needs any more, of runs and of the cache."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from bootlight.errors import BootlightError, check_range
from bootlight.io import clean_cache
from bootlight.io.cache_entries import remove
from bootlight.io.cache_folder import default_cache
from bootlight.io.cache_limit import cache_limit
from bootlight.io.cleaned import Thing
from bootlight.io.paths import expanded
from bootlight.io.sizes import parse_size, size_text
from bootlight.runs import clean_run
from bootlight.runs.folder import RunFolder
from bootlight.terminal import say

HELP = """Of runs, checkpoints of finished generations go, and what killed processes left half-written; every command works as
before. Of the cache, what is beyond its limit goes, the least recently used first; what is needed again is made again. What is
in use stays, and so does everything that bootlight has not written."""


def main(args: list[str]) -> None:
    """List and remove.

    Raises:
        SystemExit: with 1, something could not be looked at or removed.
    """
    options = _parsed(args)
    runs = {run.path.resolve(): run for folder in options.runs for run in clean_run.runs_in(folder)}  # each once
    cleaning = _Cleaning(options.dry_run, options.older_than)
    for run in runs.values():
        cleaning.clean_run(run, options.keep_checkpoints)
    if options.cache:
        limit = cache_limit(options.cache) if options.limit is None else parse_size(options.limit, "--limit")
        if options.limit is None and options.older_than is not None:
            limit = None
        cleaning.clean_cache(options.cache, limit)
    say(f"{size_text(cleaning.freed)} {'would be freed; nothing was removed' if options.dry_run else 'were freed'}")
    if cleaning.failed:
        sys.exit(1)


def _parsed(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bootlight clean", description=HELP)
    parser.add_argument("runs", type=expanded, nargs="*", help="folders of runs, or of studies and others that hold runs")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed, and what stays and why")
    parser.add_argument("--keep-checkpoints", choices=("all", "last", "none"), help="default: as the run says, else last")
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="remove only what was not used for so many days")
    parser.add_argument("--cache", action="store_true", help="clean the cache too")
    parser.add_argument(
        "--cache-dir", type=expanded, help="the same, of this cache (default: $BOOTLIGHT_CACHE, or the usual place)"
    )
    parser.add_argument("--limit", metavar="SIZE", help="of the cache, such as 10GB; default: BOOTLIGHT_CACHE_LIMIT")
    options = parser.parse_args(args)
    options.cache = options.cache_dir or (default_cache() if options.cache else None)
    if not options.runs and options.cache is None:
        raise BootlightError("what is to be cleaned? name folders of runs, or --cache")
    if options.older_than is not None:
        check_range("--older-than", options.older_than, 0)
    if options.limit is not None:
        if options.cache is None:
            raise BootlightError("--limit is of the cache; add --cache")
        parse_size(options.limit, "--limit")
    return options


class _Cleaning:
    """Lists, removes, counts.

    Args:
        dry: only list.
        older_than: days; of runs, younger things stay.
    """

    def __init__(self, dry: bool, older_than: float | None) -> None:
        self.dry, self.older_than = dry, older_than
        self.freed, self.failed = 0, False

    def clean_run(self, run: RunFolder, keep: str | None) -> None:
        """One run; one that cannot be looked at is told, and the others go on."""
        try:
            with clean_run.alone(run, dry=self.dry) as holder:
                if holder is not None:
                    say(f"skip {run.path}: in use by {holder}")
                    return
                for thing in clean_run.things_in(run, keep):
                    self._run_thing(thing)
        except (BootlightError, OSError) as error:
            self.failed = True
            say(f"skip {run.path}: {error}")

    def _run_thing(self, thing: Thing) -> None:
        young = self.older_than is not None and time.time() - thing.used <= self.older_than * clean_cache.DAY
        if thing.goes and not young:
            self._go(thing, partial(_unlinked, thing.path))
        else:
            self._list("keep", thing, f"younger than {self.older_than:g} days" if thing.goes else thing.why)

    def clean_cache(self, cache: Path, limit: int | None) -> None:
        """The cache; what stays is summed up."""
        stay: Counter[str] = Counter()
        for entry, thing in clean_cache.things_in(cache, limit, self.older_than):
            if thing.goes:
                self._go(thing, partial(remove, entry))
            else:
                stay[thing.why] += thing.size
        for why, size in stay.items():
            say(f"keep   {size_text(size):>12}  {cache}: {why}")

    def _go(self, thing: Thing, action: Callable[[], bool]) -> None:
        if self.dry or action():
            self.freed += thing.size
            self._list("remove", thing, thing.why)
        else:
            self.failed = True
            self._list("keep", thing, "could not be removed, or is in use")

    def _list(self, verb: str, thing: Thing, why: str) -> None:
        say(f"{verb:6} {size_text(thing.size):>12}  {thing.path}: {why}")


def _unlinked(path: Path) -> bool:
    with suppress(OSError):
        path.unlink()
    return not path.exists()
