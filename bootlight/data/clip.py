"""Frames of a clip as a set of images: a folder, an animated picture, a video file, or dots that are computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from bootlight.data.origin import Origin
from bootlight.data.store import Store, store_from_arrays
from bootlight.errors import BootlightError, check_range
from bootlight.io.paths import expanded
from bootlight.io.pictures import MAX_PIXELS, decode_whole
from bootlight.io.shape import shape_of, size_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ANIMATIONS = (".gif", ".webp", ".png")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MOST_BYTES = 2**30  # of frames, which are in memory


class FramesOfClip(Origin, ABC):
    """Frames of one clip in their order, in RGB, all of one size; the last ones may be held out.

    A subclass gives `frames`, (N, H, W, 3) uint8, N at least 2.

    Args:
        name: how messages call it.
        held_out: frames at the end that are kept for evaluation.
    """

    may_flip = False  # what moves to the left would move to the right

    def __init__(self, name: str, held_out: int = 0) -> None:
        check_range(f"{type(self).__name__} held_out", held_out, 0)
        self.name, self.held_out = name, held_out

    @property
    @abstractmethod
    def frames(self) -> NDArray[np.uint8]:
        """(N, H, W, 3)."""

    @cached_property
    def shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """(3, H, W) of a frame; the clip is opened for that."""
        _, height, width, channels = self.frames.shape
        return channels, height, width

    def load(self) -> tuple[Store, Store | None]:
        """The frames, and those held out.

        Raises:
            BootlightError: fewer than two are left.
        """
        frames, kept = self.frames, len(self.frames) - self.held_out
        if kept < 2:
            raise BootlightError(
                f"{self.name} has {len(frames)} frames, {self.held_out} of them held out: two at least must be left, for a "
                "clip is what moves; give a longer one, or take the frame as bootlight.Picture"
            )
        names = [f"frame {i:06}" for i in range(len(frames))]
        stores = [store_from_arrays(frames[part], names=names[part]) for part in (slice(kept), slice(kept, None))]
        return stores[0], stores[1] if self.held_out else None

    def class_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def told(self) -> list[str]:
        """Number and size of the frames."""
        return [f"a clip of {len(self.frames)} frames of {size_words(*self.shape[1:])} pixels"]


class Clip(FramesOfClip):
    """A folder of pictures in the order of their names, an animated GIF, WebP or PNG, or a video file (extra `[video]`).

    Args:
        path: of the folder or file.
        longest: longer edge of a frame in pixels, to which larger ones are shrunk with antialiasing; None = as they are.
        every: take one frame of so many, from the first one on.
        most: take at most so many; None = all.
        held_out: frames at the end that are kept for evaluation.
    """

    def __init__(
        self, path: str, longest: int | None = None, every: int = 1, most: int | None = None, held_out: int = 0
    ) -> None:
        super().__init__(path, held_out)
        for key, value in (("longest", longest), ("every", every), ("most", most)):
            check_range(f"Clip {key}", value, 1) if value is not None else None
        self.path, self.longest, self.every, self.most = expanded(path), longest, every, most

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        """See `FramesOfClip`.

        Raises:
            BootlightError: it cannot be read, has frames of two sizes, or is too large for the memory.
        """
        found: list[NDArray[np.uint8]] = []
        for i, frame in enumerate(self._read()):
            if i % self.every:
                continue
            if self.most is not None and len(found) == self.most:
                break
            small = self._shrunk(frame)
            if found and small.shape != found[0].shape:
                first, other = (size_words(*x.shape[:2]) for x in (found[0], small))
                raise BootlightError(f"{self.name}: frames of {first} and of {other} pixels; bring them to one size")
            found.append(small)
            if sum(x.nbytes for x in found) > MOST_BYTES:
                raise BootlightError(f"{self.name}: more than {MOST_BYTES >> 20} MiB of frames; set longest, every or most")
        if not found:
            raise BootlightError(f"{self.name} has no frames; give a folder of pictures, an animation or a video")
        return np.stack(found)

    def _read(self) -> Iterator[NDArray[np.uint8]]:
        if not self.path.exists():
            raise BootlightError(f"{self.name}: there is no such file or folder")
        if self.path.is_dir():
            files = sorted(file for file in self.path.iterdir() if file.suffix.lower() in PICTURES)
            return (decode_whole(file.read_bytes(), str(file)) for file in files)
        return self._animation() if self.path.suffix.lower() in ANIMATIONS else self._video()

    def _animation(self) -> Iterator[NDArray[np.uint8]]:
        try:
            with Image.open(self.path, formats=("GIF", "WEBP", "PNG")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise BootlightError(f"{self.name}: frames of more than {MAX_PIXELS} pixels; shrink them")
                for frame in ImageSequence.Iterator(picture):
                    on_black = Image.new("RGBA", frame.size, (0, 0, 0, 255))
                    on_black.alpha_composite(frame.convert("RGBA"))
                    yield np.asarray(on_black.convert("RGB"), np.uint8)
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
            raise BootlightError(f"{self.name}: cannot be decoded ({error}); repair it") from error

    def _video(self) -> Iterator[NDArray[np.uint8]]:
        if find_spec("av") is None:
            raise BootlightError(
                f"{self.name}: videos are read by PyAV: pip install 'bootlight[video]'; or give a folder of frames"
            )
        import av

        try:
            with av.open(str(self.path)) as file:
                for frame in file.decode(video=0):
                    yield frame.to_ndarray(format="rgb24")
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise BootlightError(f"{self.name}: cannot be decoded ({error}); repair it") from error

    def _shrunk(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = frame.shape[:2]
        shrink = 1.0 if self.longest is None else min(1.0, self.longest / max(height, width))
        if shrink == 1:
            return frame
        size = max(1, round(shrink * width)), max(1, round(shrink * height))
        return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


class MovingDots(FramesOfClip):
    """A clip that is computed: bright dots on a dark ground go to the right, a pixel a frame, and come in again on the left.

    Args:
        size: edge of a square frame in pixels, or [height, width].
        count: frames.
        dots: how many, in rows that are evenly spaced, each from a column of its own.
        radius: of a dot, in pixels.
        held_out: frames at the end that are kept for evaluation.
    """

    def __init__(
        self, size: int | list[int] = 32, count: int = 32, dots: int = 2, radius: float = 2.0, held_out: int = 0
    ) -> None:
        super().__init__("moving dots", held_out)
        _, self.height, self.width = shape_of(size, 3, "MovingDots ")
        check_range("MovingDots count", count, 2)
        check_range("MovingDots dots", dots, 1)
        self.count, self.dots, self.radius = count, dots, radius

    def center(self, frame: int, dot: int = 0) -> tuple[float, float]:
        """Row and column of a dot in a frame."""
        return (dot + 0.5) * self.height / self.dots - 0.5, (frame + dot * self.width / self.dots) % self.width

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        """See `FramesOfClip`."""
        rows, columns = np.mgrid[: self.height, : self.width]
        light = np.zeros((self.count, self.height, self.width))
        for frame in range(self.count):
            for dot in range(self.dots):
                row, column = self.center(frame, dot)
                across = np.abs(columns - column)
                across = np.minimum(across, self.width - across)
                light[frame] += np.exp(-((rows - row) ** 2 + across**2) / (2 * self.radius**2))
        colour = np.array([250, 210, 120]) - 30.0
        return np.round(30 + np.clip(light, 0, 1)[..., None] * colour).astype(np.uint8)
