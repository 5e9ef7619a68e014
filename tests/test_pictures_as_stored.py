"""Pictures for distances are read as FID's programs read them; what training reads in another way is told."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bootlight.errors import BootlightError
from bootlight.evaluation.sets.source_remarks import reading_remarks, size_remark
from bootlight.evaluation.sets.sources import open_source
from bootlight.io.picture_header import Header, read_header
from bootlight.io.pictures import decode, decode_stored, decode_whole

RGBA = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
GREY16 = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def of_mode(mode: str) -> Image.Image:
    return Image.fromarray(RGBA).convert("RGB").quantize(16) if mode == "P" else Image.fromarray(RGBA).convert(mode)


RGB = of_mode("RGB")
PICTURES = {
    "rgb": encoded(RGB),
    "rgba": encoded(of_mode("RGBA")),
    "grey and alpha": encoded(of_mode("LA")),
    "palette": encoded(of_mode("P")),
    "palette, one transparent": encoded(of_mode("P"), transparency=3),
    "palette, many transparent": encoded(of_mode("P"), transparency=bytes(range(0, 160, 10))),
    "grey": encoded(of_mode("L")),
    "grey, one transparent": encoded(of_mode("L"), transparency=int(np.asarray(of_mode("L"))[0, 0])),
    "rgb, one transparent": encoded(RGB, transparency=RGB.getpixel((0, 0))),
    "one bit": encoded(of_mode("1")),
    "one bit, one transparent": encoded(of_mode("1"), transparency=0),
    "16 bits": encoded(Image.fromarray(GREY16)),
    "16 bits, one transparent": encoded(Image.fromarray(GREY16), transparency=1024),
    "cmyk": encoded(RGB.convert("CMYK"), "JPEG"),
    "grey jpeg": encoded(of_mode("L"), "JPEG"),
    "ycbcr": encoded(RGB, "JPEG", quality=50),
    "webp with alpha": encoded(of_mode("RGBA"), "WEBP", lossless=True, exact=True),
    "animated": encoded(RGB, "WEBP", lossless=True, save_all=True, append_images=[RGB.rotate(180)]),
    **{f"png turned {i}": encoded(RGB, exif=turned(i)) for i in range(1, 9)},
    "jpeg turned": encoded(RGB, "JPEG", exif=turned(6)),
    "webp turned": encoded(RGB, "WEBP", exif=turned(8)),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, data in PICTURES.items():
        (folder / f"{name}.png").write_bytes(data)  # all these programs look at the content
    return [str(folder / f"{name}.png") for name in PICTURES]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Pillow's, of the programs
@pytest.mark.parametrize("program", ["torch-fidelity", "pytorch-fid", "clean-fid"])
def test_pixels_are_those_of_the_program(program, files):
    if program == "torch-fidelity":
        from torch_fidelity.datasets import ImagesPathDataset

        found = [image.permute(1, 2, 0).numpy() for image in ImagesPathDataset(files)]
    elif program == "pytorch-fid":
        dataset = pytest.importorskip("pytorch_fid.fid_score").ImagePathDataset(files)
        found = [np.asarray(image) for image in map(dataset.__getitem__, range(len(files)))]
    else:
        resize = pytest.importorskip("cleanfid.resize")
        dataset = pytest.importorskip("cleanfid.utils").ResizeDataset(files, "legacy_tensorflow")  # which leaves the size
        assert resize.build_resizer("legacy_tensorflow")(RGBA) is RGBA
        found = [torch.round(image).permute(1, 2, 0).numpy() for image in map(dataset.__getitem__, range(len(files)))]
    for name, pixels in zip(PICTURES, found, strict=True):
        np.testing.assert_array_equal(decode_stored(PICTURES[name], name), pixels.astype(np.uint8), err_msg=name)


def test_closed_forms():
    np.testing.assert_array_equal(decode_stored(PICTURES["rgba"], ""), RGBA[..., :3])
    np.testing.assert_array_equal(decode_stored(PICTURES["png turned 6"], ""), RGBA[..., :3])
    np.testing.assert_array_equal(decode_whole(PICTURES["png turned 6"], ""), np.rot90(RGBA[..., :3], -1))
    clipped = np.minimum(GREY16, 255).astype(np.uint8)
    np.testing.assert_array_equal(decode_stored(PICTURES["16 bits"], ""), np.repeat(clipped[..., None], 3, 2))
    with pytest.raises(BootlightError):
        decode_stored(PICTURES["rgb"][:60], "cut off")


def test_a_header_says_what_is_read_in_two_ways():
    for name, data in PICTURES.items():
        height, width, _ = decode_stored(data, name).shape
        expected = Header(
            width,
            height,
            transparent=any(word in name for word in ("transparent", "alpha", "rgba", "animated")),  # whose canvas is RGBA
            turned="turned" in name and name != "png turned 1",
            wide="16 bits" in name,
        )
        assert read_header(data) == expected, name
    assert read_header(b"") is None and read_header(b"no picture") is None and read_header(PICTURES["rgb"][:20]) is None


def write(folder, *pictures: bytes):
    folder.mkdir()
    for i, data in enumerate(pictures):
        (folder / f"{i:03d}.png").write_bytes(data)
    return folder


def test_what_was_done_with_such_pictures_is_told_for_all_of_a_set(tmp_path):
    plain = write(tmp_path / "plain", *[PICTURES["rgb"]] * 2)
    mixed = write(tmp_path / "mixed", *[PICTURES[name] for name in ("rgb", "rgba", "jpeg turned", "16 bits", "grey and alpha")])
    for size, word in ((None, "as FID's programs have it"), (4, "as for training")):
        sets = {"real": plain, "other": mixed}
        opened = {role: open_source(str(at), image_size=size, cache=tmp_path) for role, at in sets.items()}
        found = reading_remarks(opened)
        expected = [("transparency", 2), ("EXIF", 1), ("16-bit", 1)]
        for remark, (kind, count) in zip(found, expected, strict=True):
            assert kind in remark and f"(other {count} of 5)" in remark and word in remark
        assert reading_remarks({"real": opened["real"]}) == ()


def test_sizes_of_all_pictures_count(tmp_path):
    def squares(name, *edges):
        folder = write(tmp_path / name, *[encoded(Image.new("RGB", (edge, edge + 1))) for edge in edges])
        return open_source(str(folder), image_size=None, cache=tmp_path)

    same, also, mixed = squares("a", 8, 8, 8), squares("b", 8, 8), squares("c", 8, 8, 6, 12)
    assert size_remark({"real": same, "synthetic": also}) == ()
    (remark,) = size_remark({"real": same, "synthetic": mixed})  # the first pictures of both are alike
    assert "real 8 x 9, synthetic 3 sizes from 6 x 7 to 12 x 13" in remark and "--image-size 6 " in remark
    assert len(size_remark({"real": mixed, "synthetic": mixed})) == 1  # within one set is enough
    at_size = {name: open_source(str(tmp_path / name), image_size=4, cache=tmp_path) for name in "ac"}
    assert size_remark(at_size) == ()


def test_features_of_both_readings_are_kept_apart(tmp_path):
    folder = str(write(tmp_path / "a", PICTURES["rgba"]))
    stored, seen = (open_source(folder, image_size=None, cache=tmp_path, decode=d) for d in (decode_stored, decode_whole))
    assert stored.key != seen.key
    np.testing.assert_array_equal(stored.pick([0])[0], RGBA[..., :3])
    np.testing.assert_array_equal(next(seen.batches(1))[0].permute(1, 2, 0).numpy(), decode_whole(PICTURES["rgba"], ""))
    np.testing.assert_array_equal(
        open_source(folder, image_size=7, cache=tmp_path).pick([0])[0], decode(PICTURES["rgba"], "", image_size=7, channels=3)
    )
