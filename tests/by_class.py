"""The whole of a plug-in: a curator that drops, weights and relabels."""

import bootlight


class ByDarkness(bootlight.Curator):
    """Drops the brightest image; the others count by how dark they are, those that are darker than real ones are of class 1.

    Args:
        power: 0 = all alike.
    """

    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def rows(self, rows, images, generation):
        real = [float(image.float().mean()) for batch in generation.real.batches(10) for image in batch]
        drawn = [float(image.float().mean()) for batch in images.batches(10) for image in batch]
        middle = sum(real) / len(real)
        return [
            row._replace(keep=mean < max(drawn), weight=(255 - mean) ** self.power, label=int(mean < middle), why=f"{mean:.1f}")
            for row, mean in zip(rows, drawn, strict=True)
        ]
