"""A progress bar that names the generation and what is being done."""

from typing import Any

from lightning.pytorch.callbacks import TQDMProgressBar

from bootlight.run_folder import GenerationContext


class GenerationProgressBar(TQDMProgressBar):
    """Lightning's bar, labelled `generation 2 · training`.

    Args:
        refresh_rate: steps between updates of the bar.
    """

    label = "training"

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def attach(self, context: GenerationContext) -> None:
        """Say which generation is trained."""
        self.label = f"generation {context.generation} · training"

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
