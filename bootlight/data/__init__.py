"""Real and synthetic images as training data: reading, decoding once, mixing, batches.

What is called what, from the files to a batch:

- `contents.Root`: a folder or zip, or one split of it, as it was named; `layout.Layout`: what it has, counts alone, for the
  lines that say what was understood;
- `reader.ImageSet`: its images with their names and labels, listed but still encoded; `reader_files.Files` open them;
- `contents.Contents`: an image set of which every file was read once: with their hashes, without those that are bad;
- `contents.Union`: the contents of several roots as one set, whatever their order;
- `store.Store`: the same images decoded to one size, in memory or mapped from the cache, with labels and a `key` of all;
- `origin.Origin`: where a store of real images comes from: files, or what needs none;
- `mixing.Source`: the part of a store that trains in one role, such as real or synthetic, as indices, with weights and noise;
- `archive.Archive`: the sources that there are, on the disk or by their number; a policy mixes them;
- `batches.StepDataset`: a mixture as batches, each a `bootlight.batch.Batch`.

Measuring has its own view of a set, `evaluation.sources.ImageSource`: names, labels and pixels by position. It is a store
(`StoreSource`) or files at their own sizes (`FileSource`), whichever the features ask for.
"""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "clip": "Clip MovingDots",
        "corrupted": "Corrupted",
        "crops": "Crops",
        "datamodule": "BootstrapData",
        "denoised": "Denoised",
        "archive": "Archive",
        "as_clean": "AsClean",
        "around": "WithCopies WithOrigin WithTeacher",
        "digits": "Digits",
        "files": "ImageFiles",
        "frame_windows": "FramePairs FrameTriples",
        "gaussian": "GaussianImages",
        "jpeg": "JPEG",
        "masked": "Masked",
        "mixing": "Accumulate AccumulateSubsample FreshReal LoopPolicy MixingPolicy OnlyReal Replace Source",
        "noisy": "Noisy",
        "origin": "Origin StoreOrigin",
        "overlays": "PixelMask Subtitle Watermark",
        "others": "Others",
        "own_images": "OwnImages WithOwn",
        "per_class": "PerClass",
        "picture": "Lattice Picture SamplePicture",
        "points": "Ring",
        "view_of": "ViewOf",
        "store": "Store store_from_arrays",
    },
)
