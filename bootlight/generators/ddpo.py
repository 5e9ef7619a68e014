"""Denoising diffusion policy optimization: a diffusion model that is trained towards a reward (Black et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn

from bootlight.batch import Batch
from bootlight.compat import not_counted
from bootlight.diffusion.compose import Composition
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.policy import clip_range, clipped_surrogate, divergence, log_prob, score_function
from bootlight.diffusion.prediction import Prediction
from bootlight.diffusion.sampler import DDIM, MarkovSampler
from bootlight.diffusion.schedule import Schedule
from bootlight.distributed.sums import add_up
from bootlight.errors import BootlightError, check_range
from bootlight.generators.advantages import Advantages, Against
from bootlight.generators.on_policy import OnPolicy, Round
from bootlight.networks.sizes import Sizes
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from bootlight.metrics.reward import Reward


class DDPO(OnPolicy):
    """A diffusion model that draws images, is told how good they are, and makes the better ones more likely.

    A batch is a round: as many images as the batch has are drawn by the present weights, with the labels of the batch where
    the model knows labels; the real images themselves are not trained on. Several optimizer steps follow, each with the
    gradient of all steps of the sampler. Network and sampler are in eval mode throughout, and guided alike in drawing and in
    training. A round is a function of its batch and the weights.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        network: makes the network of its `Sizes`, or of adapters around one (`LoRA`).
        reward: of the drawn images, as they would be stored; higher is better.
        channels: 1 or more; taken from the data section of a config.
        schedule: noise levels; cosine with 1000 timesteps if left out.
        prediction: what the network predicts; Epsilon if left out.
        sampler: the policy, also of the images that a generation draws: one that adds noise; DDIM with 50 steps and eta 1 if
            left out.
        compose: what the denoiser is composed with; nothing if left out.
        num_classes: number of labels of a class-conditional model; None = unconditional. In a config, auto is the number that
            the images have, None where they have no labels.
        learning_rate: of AdamW; 3e-4 with adapters and 1e-5 without in published code.
        weight_decay: of AdamW.
        warmup_steps: rounds over which the learning rate rises from 0.
        linear_decay: let the learning rate fall on a line over all rounds, to 2 % of it at the end.
        gradient_clip: limit of the gradient's norm; None = no limit.
        ema_decay: of an average to draw the images of a generation from; None = none.
        advantages: rewards against those of the round (`batch`), of earlier images of the same label (`label`), or as they are
            (`none`).
        clip_advantages: their largest absolute value; None = no limit.
        history: rewards of each label that are remembered.
        importance_sampling: weigh by the ratio to the policy that drew, clipped (DDPO-IS, that is PPO). Without: the score
            function (DDPO-SF, that is REINFORCE), for one update a round.
        clip: of that ratio of whole images in a step of the sampler, 1 + clip; scaled by their numbers. 0.36 for images of
            3x32x32 is the 1e-4 of published code.
        updates: optimizer steps in a pass over the images of a round.
        inner_epochs: passes.
        kl_weight: what a nat of divergence from the reference costs, in advantages. Its gradient is that of the divergence in
            the states that were drawn.
        reference: published network that the divergence is counted from, such as `@0/base`; the weights at the start of the
            training if left out.
        images_at_once: of a network call.
        shuffle_rewards: give each image the reward of another one: a control.

    Raises:
        BootlightError: a setting that cannot be meant; names the key.
    """

    def __init__(
        self,
        image_size: int | list[int],
        network: Callable[[Sizes], nn.Module],
        reward: Reward,
        channels: int = 3,
        schedule: Schedule | None = None,
        prediction: Prediction | None = None,
        sampler: MarkovSampler | None = None,
        compose: Composition | None = None,
        num_classes: int | Literal["auto"] | None = None,
        learning_rate: float = 1e-5,
        weight_decay: float = 1e-4,
        warmup_steps: int = 0,
        linear_decay: bool = False,
        gradient_clip: float | None = 1.0,
        ema_decay: float | None = None,
        advantages: Against = "batch",
        clip_advantages: float | None = 5.0,
        history: int = 32,
        importance_sampling: bool = True,
        clip: float = 0.36,
        updates: int = 2,
        inner_epochs: int = 1,
        kl_weight: float = 0.0,
        reference: str | None = None,
        images_at_once: int = 64,
        shuffle_rewards: bool = False,
    ) -> None:
        policy = DDIM(eta=1.0) if sampler is None else sampler
        super().__init__(
            image_size,
            network,
            channels,
            schedule,
            prediction,
            sampler=policy,
            compose=compose,
            num_classes=num_classes,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            linear_decay=linear_decay,
            gradient_clip=gradient_clip,
            ema_decay=ema_decay,
        )
        self.automatic_optimization = False
        for key, value in (("updates", updates), ("inner_epochs", inner_epochs), ("images_at_once", images_at_once)):
            check_range(f"model.{key}", value, 1)
        check_range("model.kl_weight", kl_weight, 0)
        if not clip > 0:
            raise BootlightError(f"model.clip is {clip}; it must be above 0")
        if not importance_sampling and updates * inner_epochs > 1:
            raise BootlightError(
                "model.importance_sampling is false: after an update the images are of another policy; set model.updates and "
                "model.inner_epochs to 1"
            )
        self.look_through(reward, shuffle_rewards)
        self.follow(Advantages(advantages, clip_advantages, (self.num_classes or 0) + 1, history), reference)
        self.importance_sampling = importance_sampling
        self.clip = clip
        self.updates = updates
        self.inner_epochs = inner_epochs
        self.kl_weight = kl_weight
        self.images_at_once = images_at_once

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]  # it steps itself
        """A round.

        Raises:
            BootlightError: rewards that nothing can be learned from.
        """
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        steps = 0
        with self.drawing_mode(), self._gradients_kept():
            drawn = self.draw_round(batch)
            for chosen, size in self._parts(batch, drawn.positions):
                sums += self._update(optimizer, drawn, chosen, size)
                not_counted(optimizer)  # after the first: a round is one step
                steps += 1
        scheduler.step()
        add_up([sums])
        loss, clipped, divergence = (sums / steps).tolist()
        self.log("train/loss", loss, batch_size=batch.total, prog_bar=True)
        if self.importance_sampling:
            self.log("train/clipped", clipped, batch_size=batch.total)
        if self.kl_weight > 0:
            self.log("train/penalty", self.kl_weight * divergence, batch_size=batch.total)

    def _gradients_kept(self) -> AbstractContextManager[None]:
        """No process waits in a backward pass for others, which may have fewer images in an update, or none."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()

    def _parts(self, batch: Batch, positions: Tensor) -> list[tuple[Tensor, int]]:
        """For each update, which of this process's images it sees, and how many images it sees in all."""
        found = []
        for epoch in range(self.inner_epochs):
            order = numpy_rng(batch.seed, "inner epoch", epoch).permutation(batch.total)
            for part in np.array_split(order, min(self.updates, batch.total)):
                own = part[(part >= batch.start) & (part < batch.start + len(positions))] - batch.start
                found.append((torch.from_numpy(np.sort(own)).to(self.device), len(part)))
        return found

    def _update(self, optimizer: Any, drawn: Round, chosen: Tensor, size: int) -> Tensor:
        """An optimizer step by the gradient of all steps of some trajectories.

        Args:
            optimizer: Lightning's.
            drawn: by this process.
            chosen: which of its images, int64; may be none.
            size: images of all processes.

        Returns:
            Parts of this process in the means of loss, clipped ratios and divergence, float64 (3,).
        """
        optimizer.zero_grad()
        actions = drawn.grid.num_steps - 1
        denoiser, reference = self.denoiser(ema=False), self.reference_denoiser()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        for here in torch.split(chosen, self.images_at_once) if len(chosen) else ():
            for i in range(actions):
                terms = self.losses_of(drawn, i, here, denoiser, reference).sum(1) / (size * actions)
                self.manual_backward(terms[0])
                sums += terms.detach()
        learned = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in learned:  # a process may have no image of this update
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        add_up([parameter.grad for parameter in learned])
        optimizer.step()
        self.update_average()
        torch.clear_autocast_cache()  # of the weights before
        return sums

    def losses_of(self, drawn: Round, i: int, here: Tensor, denoiser: Denoiser, reference: Denoiser) -> Tensor:
        """Loss, whether the ratio is clipped, and divergence of step i of some trajectories, (3, b) float64.

        Args:
            drawn: the round.
            i: step of the sampler, from 0.
            here: which images, int64 (b,).
            denoiser: the present one.
            reference: what the divergence is counted from.
        """
        states, labels = drawn.trajectory.states, None if drawn.labels is None else drawn.labels[here]
        law = self.policy.transition(denoiser, states[i, here], drawn.grid, i, labels)
        now, then, advantages = log_prob(states[i + 1, here], *law), drawn.trajectory.log_probs[i, here], drawn.advantages[here]
        clip = clip_range(self.clip, int(np.prod(self.image_shape)))
        weighed = self.importance_sampling
        loss = clipped_surrogate(now - then, advantages, clip) if weighed else score_function(now, advantages)
        apart = torch.zeros_like(loss)
        if self.kl_weight > 0:
            with torch.no_grad():
                other = self.policy.transition(reference, states[i, here], drawn.grid, i, labels)
            apart = divergence(*law, *other)
        far = (((now - then).exp() - 1).abs() > clip).double()
        return torch.stack([loss + self.kl_weight * apart, far, apart])
