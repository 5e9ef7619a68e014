"""What a generation is worth: how far its images are from real ones, in quality and in variety, and what a judge says of them.

Each metric is a `torchmetrics.Metric` that takes uint8 images and answers with a `Score`. Where to look:

- `score`: `Score`, a value with error, interval, protocol and remarks; `uncertainty`: errors and intervals of shares;
- `features`, `inception`, `dino`, `file_network`: feature networks; `inception_network`, `inception_input`: how the first is
  computed; `frozen`: how any is called; `feature_cache`, `once`: what is kept;
- `frechet`, `fd_infinity`, `sfid`, `mifid`: Fréchet distances; `kid`: kernel distances; `inception_score`, `vendi`;
- `precision_recall`, `density_coverage`, `authenticity`, `copying`: by nearest neighbours (`neighbours`, `cells`);
- `discriminator`: the score of a frozen discriminator; `c2st`: of a fresh classifier; `pixel_statistics`: without any network.
"""
