"""The whole of a plug-in: a synthesizer whose images are the frames of clips."""

import bootlight
from bootlight.rng import derive_seed


class Walk(bootlight.Draw):
    """Each frame is the mean of the one before and of a new image."""

    length = 3

    def draw(self, generator, requests, parents, done):
        known = 0 if done is None else done.shape[1]
        frame = None
        for k in range(self.length):
            if k < known:
                frame = done[:, k]
            else:
                new = generator.sample([derive_seed(seed, k) for seed in requests.seeds], labels=requests.labels)
                frame = bootlight.as_stored(new if frame is None else (frame + new) / 2, generator.image_dtype)
            yield frame
