"""What a generation is worth: Fréchet distances between feature sets and the score of a frozen discriminator.

Each metric is a `torchmetrics.Metric` that takes uint8 images and answers with a `Score`. The module that holds each name:
`frechet` (arithmetic and `FrechetDistance`), `features` (networks), `discriminator` (`DiscriminatorScore`), `score` (`Score`).
"""
