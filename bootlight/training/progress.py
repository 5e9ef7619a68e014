"""A progress bar that names the generation and what is being done."""

from typing import Any

from lightning.pytorch.callbacks import TQDMProgressBar


class GenerationProgressBar(TQDMProgressBar):
    """Lightning's bar, labelled `generation 2 · training`.

    Args:
        refresh_rate: steps between updates of the bar.
        label: what is trained.
    """

    def __init__(self, refresh_rate: int = 10, label: str = "training") -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.label = label

    def init_train_tqdm(self) -> Any:
        """The bar, gone when training ends: the table at the end of the run says the rest."""
        bar = super().init_train_tqdm()
        bar.leave = False
        return bar

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        """Keep our label instead of "Epoch 0"."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(self.label)

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        """Losses without the logger's version number and the `train/` of their names."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {name.removeprefix("train/"): value for name, value in metrics.items()}
