"""`bootlight data check SET [SET ...]`: pictures that are there twice, inside a set or between sets.

`bootlight data preview` draws clean, corrupted and restored images beside each other; see `bootlight data preview --help`.
"""

import json
from typing import Any

from bootlight.cli.data_preview import preview
from bootlight.errors import BootlightError, check_named, check_range
from bootlight.terminal import Usage, say

SHOWN = 5  # pairs of each kind that are named in the table


def main(args: list[str]) -> None:
    """Compare sets of images, or draw a sheet of some."""
    if args[:1] == ["preview"]:
        preview(args[1:])
    else:
        check(args)


def check(args: list[str]) -> None:
    """Compare every set with itself and with every other."""
    parser = Usage(prog="bootlight data", description=__doc__)
    parser.add_argument("action", choices=["check", "preview"])
    parser.add_argument("sets", nargs="+", help="folders, zips, RUN or RUN@GENERATION; images@SPLIT for a split")
    parser.add_argument("--near", type=float, default=0.03, help="difference of thumbnails that still is one picture, 0 to 1")
    parser.add_argument("--follow-links", action="store_true", help="read what symbolic links lead to, wherever it lies")
    parser.add_argument(
        "--max-bad", type=int, default=0, help="leave out so many pictures that cannot be decoded, and list them"
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout, with all pairs")
    options = parser.parse_args(args)
    check_range("--near", options.near, 0, 1)
    for text in options.sets:
        check_named("a set", text)
    check_range("--max-bad", options.max_bad, 0)
    if len(set(options.sets)) < len(options.sets):
        raise BootlightError("a set is named twice; every set is compared with itself anyway")

    from bootlight.data.reading import Reading
    from bootlight.evaluation.duplicates import exact_pairs, near_pairs, take_prints
    from bootlight.evaluation.sets.sources import open_source
    from bootlight.io.cache_folder import default_cache
    from bootlight.io.pictures import decode_whole

    # As they are seen and trained on, not as FID's programs read them.
    reading = Reading(options.follow_links, max_bad=options.max_bad)
    how: dict[str, Any] = {"cache": default_cache(), "decode": decode_whole, "reading": reading}
    sources = [open_source(text, image_size=None, **how) for text in options.sets]
    prints = [take_prints(source) for source in sources]
    findings = []
    for i, first in enumerate(sources):
        for j, second in list(enumerate(sources))[i:]:
            other = None if i == j else prints[j]
            for kind, pairs in (
                ("exact", exact_pairs(prints[i], other)),
                ("near", near_pairs(prints[i], other, limit=options.near)),
            ):
                named = [
                    {"first": first.names[p.first], "second": second.names[p.second]} | dict(list(p._asdict().items())[2:])
                    for p in pairs
                ]
                findings.append({"first": first.where, "second": second.where, "kind": kind, "pairs": named})
    counts = {source.where: len(source.names) for source in sources}
    besides = {source.where: [*source.layout.besides, source.layout.classes] for source in sources if source.layout}
    flat = {s.where: [s.names[i] for i in p.flat] for s, p in zip(sources, prints, strict=True)}
    if options.json:
        say(json.dumps({"sets": counts, "besides": besides, "too_flat": flat, "findings": findings}, indent=1))
    else:
        say(_text(counts, besides, flat, findings))


def _about(flat: list[str]) -> str:
    """A part of a line on pictures of which only equal pixels are found."""
    others = f" and {len(flat) - 1:,} more" if len(flat) > 1 else ""
    return f", {len(flat):,} of them too flat to be near to another, or numbers ({flat[0]}{others})" if flat else ""


def _text(
    counts: dict[str, int], besides: dict[str, list[str]], flat: dict[str, list[str]], findings: list[dict[str, Any]]
) -> str:
    lines = [" · ".join([f"{name}: {n:,} images{_about(flat[name])}", *besides[name]]) for name, n in counts.items()]
    for finding in findings:
        first, second, pairs = finding["first"], finding["second"], finding["pairs"]
        where = f"inside {first}" if first == second else f"in both {first} and {second}"
        lines.append(f"{'!' if pairs else '✓'} {finding['kind']:5} duplicates {where}: {len(pairs):,}")
        for pair in pairs[:SHOWN]:
            mirrored = ", mirrored" if pair["mirrored"] else ""
            lines.append(f"    {pair['first']} = {pair['second']} (difference {pair['difference']:.3f}{mirrored})")
        if len(pairs) > SHOWN:
            lines.append(f"    and {len(pairs) - SHOWN:,} more, see --json")
    if any(f["pairs"] for f in findings if f["first"] != f["second"]):
        lines.append("A picture in two sets is a leak if one is held out: take it out of one of them")
    return "\n".join(lines)
