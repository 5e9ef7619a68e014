"""What must be known of the pictures themselves before their scores are believed: their sizes, and how they were read."""

from collections import Counter
from collections.abc import Callable, Mapping

from bootlight.errors import BootlightError
from bootlight.evaluation.sets.file_source import FileSource
from bootlight.evaluation.sets.sources import ImageSource
from bootlight.io.picture_header import Header

KINDS: tuple[tuple[Callable[[Header], bool], str, str, str], ...] = (
    (
        lambda header: header.transparent,
        "with transparency",
        "it is dropped and what it hid counts, as FID's programs have it",
        "it is treated as for training; FID's programs drop it",
    ),
    (
        lambda header: header.turned,
        "that EXIF turns",
        "they are taken as stored, as FID's programs have it",
        "they are turned as for training; FID's programs take them as stored",
    ),
    (
        lambda header: header.wide,
        "of 16-bit grey",
        "clipped at 255 of 65,535, as FID's programs have it",
        "scaled as for training; FID's programs clip them at 255 of 65,535",
    ),
)


def check_alike(sources: Mapping[str, ImageSource]) -> None:
    """Numbers are measured against numbers of the same shape; pictures of 8 bits against such pictures.

    Args:
        sources: sets by role.

    Raises:
        BootlightError: names two sets that are not alike.
    """
    (_, first), *others = sources.items()
    for _, other in others:
        if other.dtype != first.dtype:
            kinds = ["numbers of float32" if one.dtype == "float32" else "images of 8 bits" for one in (first, other)]
            raise BootlightError(f"{first.where} has {kinds[0]}, {other.where} has {kinds[1]}; give sets of one kind")
        if first.dtype == "float32" and (shapes := [one.pick([0])[0].shape for one in (first, other)])[0] != shapes[1]:
            (h, w, c), (height, width, channels) = shapes
            raise BootlightError(
                f"{first.where} has images {(c, h, w)}, {other.where} has {(channels, height, width)}; numbers are not "
                "resized, give sets of one shape"
            )


def source_remarks(sources: Mapping[str, ImageSource]) -> tuple[str, ...]:
    """`size_remark` and `reading_remarks`.

    Args:
        sources: sets by role.
    """
    return size_remark(sources) + reading_remarks(sources)


def size_remark(sources: Mapping[str, ImageSource]) -> tuple[str, ...]:
    """A warning where images differ in size, within a set or between two."""
    sizes = {role: source.sizes for role, source in sources.items()}
    if len({size for found in sizes.values() for size in found}) < 2:
        return ()
    said = ", ".join(f"{role} {_range(found)}" for role, found in sizes.items() if found)
    least = min(edge for found in sizes.values() for size in found for edge in size)
    return (f"sizes in pixels differ ({said}), and resolution is part of every score; --image-size {least} brings all to one",)


def _range(sizes: Counter[tuple[int, int]]) -> str:
    """The size, or how many there are between the smallest and the largest picture."""
    ordered = [f"{width} x {height}" for width, height in sorted(sizes, key=lambda size: (size[0] * size[1], size))]
    return ordered[0] if len(ordered) == 1 else f"{len(ordered):,} sizes from {ordered[0]} to {ordered[-1]}"


def reading_remarks(sources: Mapping[str, ImageSource]) -> tuple[str, ...]:
    """A sentence for each kind of pictures that FID's programs read in another way than training does: what was done here."""
    remarks = []
    for concerned, what, as_stored, as_trained in KINDS:
        counts = {role: _share(source.headers, concerned) for role, source in sources.items()}
        said = ", ".join(f"{role} {count}" for role, count in counts.items() if count)
        if said:
            stored = any(isinstance(source, FileSource) for source in sources.values())
            remarks.append(f"pictures {what} ({said}): {as_stored if stored else as_trained}")
    return tuple(remarks)


def _share(headers: Counter[Header], concerned: Callable[[Header], bool]) -> str:
    """`3 of 20`, empty where it is none."""
    count = sum(n for header, n in headers.items() if concerned(header))
    return f"{count:,} of {headers.total():,}" if count else ""
