"""The whole of a plug-in: a synthesizer whose images are made of others."""

import bootlight


class Halfway(bootlight.Synthesizer):
    """Each image is the mean of its parent and of noise.

    Args:
        of: real images in use, or a folder that an earlier stage has drawn.
        deviation: of the noise.
    """

    def __init__(self, of: str = "real", deviation: float = 0.5) -> None:
        self.of = of
        self.deviation = deviation

    def requests(self, generator, data, context, count, into="samples"):
        names = data.real_names if self.of == "real" else data.drawn_names(self.of)
        return bootlight.variants(data, context, names[: count // 2], count, into)

    def draw(self, generator, requests, parents, done):
        noise = bootlight.NoiseStreams(requests.seeds, generator.device).normal(*generator.image_shape)
        yield (parents + self.deviation * noise) / 2

    def protocol(self, generator):
        return {**super().protocol(generator), "deviation": self.deviation}
