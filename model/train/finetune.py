"""Training in float: of the student and of its teacher, on labels or probabilities."""

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from train import data


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run."""

    steps: int
    batch_size: int
    learning_rate: float
    # Learning rate of a layer is this times that of the layer above it.
    layer_decay: float
    warm_up: float = 0.1
    weight_decay: float = 0.01
    # Decay of the average of weights, per step. The average is what is kept.
    average_decay: float = 0.998
    steps_per_report: int = 200
    seed: int = 0


@torch.no_grad()
def predict(
    model: nn.Module, dataset: data.Dataset, size: int = 64, bfloat16: bool = False
) -> np.ndarray:
    """Logits [texts, 2] in the order of the data set, without dropout."""
    was_training = model.training
    model.eval()
    logits = np.zeros((len(dataset.ids), 2), dtype=np.float32)
    for batch in data.batches(dataset, size, rng=None):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits[batch.rows] = model(batch.ids, batch.mask).float().numpy()
    model.train(was_training)
    return logits


def accuracy(logits: np.ndarray, dataset: data.Dataset) -> float:
    return float((logits.argmax(axis=1) == (dataset.labels > 0.5)).mean())


def _parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict]:
    """Groups with their learning rate (layer-wise decay) and weight decay."""
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    layers = 1 + max(index for name in named if (index := _layer(name)) is not None)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        index = _layer(name)
        depth = 0 if index is None else layers - index
        if "embeddings" in name.split("."):
            depth = layers + 1
        rate = recipe.learning_rate * recipe.layer_decay**depth
        decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": p, "lr": rate, "weight_decay": decay}
        for (rate, decay), p in groups.items()
    ]


def _layer(name: str) -> int | None:
    """The index in a parameter's name, as in `encoder.layer.3.bias`."""
    parts = name.split(".")
    return int(parts[parts.index("layer") + 1]) if "layer" in parts else None


class Run:
    """One training run; its state is a file, so that it goes on where it was stopped."""

    def __init__(self, model: nn.Module, recipe: Recipe, state: Path) -> None:
        self.model, self.recipe, self.state = model, recipe, state
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(model, recipe), eps=1e-6, betas=(0.9, 0.98), fused=True
        )
        warm_up = max(1, int(recipe.steps * recipe.warm_up))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min(
                (step + 1) / warm_up,
                (recipe.steps - step) / max(1, recipe.steps - warm_up),
            ),
        )
        self.average = copy.deepcopy(model)
        self.step, self.seconds = 0, 0.0
        if state.exists():
            self._load()

    def _parts(self) -> dict[str, object]:
        return {
            "model": self.model,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def _load(self) -> None:
        kept = torch.load(self.state)
        for name, part in self._parts().items():
            part.load_state_dict(kept[name])
        self.step, self.seconds = kept["step"], kept["seconds"]

    def _save(self) -> None:
        kept = {name: part.state_dict() for name, part in self._parts().items()}
        new = self.state.with_suffix(".new")
        torch.save({**kept, "step": self.step, "seconds": self.seconds}, new)
        new.replace(self.state)

    def go(self, train_set: data.Dataset, held_out: data.Dataset) -> None:
        """Trains to the end; then `model` holds the averaged weights."""
        recipe = self.recipe
        per_epoch = math.ceil(len(train_set.ids) / recipe.batch_size)
        averaged, trained = (
            list(self.average.parameters()),
            list(self.model.parameters()),
        )
        started, running = time.monotonic() - self.seconds, []
        self.model.train()
        while self.step < recipe.steps:
            epoch, skipped = divmod(self.step, per_epoch)
            torch.manual_seed(recipe.seed + self.step)
            order = np.random.default_rng((recipe.seed, epoch))
            for i, batch in enumerate(
                data.batches(train_set, recipe.batch_size, order)
            ):
                if i < skipped:
                    continue
                running.append(self._one(batch, trained, averaged))
                if self.step % recipe.steps_per_report and self.step < recipe.steps:
                    continue
                self.seconds = time.monotonic() - started
                logits = predict(self.average, held_out, bfloat16=True)
                print(
                    f"step {self.step}/{recipe.steps} loss {np.mean(running):.4f} "
                    f"held-out accuracy {accuracy(logits, held_out):.4f} "
                    f"loss {loss(torch.from_numpy(logits), held_out.labels):.4f} "
                    f"after {self.seconds:.0f} s",
                    flush=True,
                )
                running.clear()
                self._save()
                if self.step == recipe.steps:
                    break
        self.model.load_state_dict(self.average.state_dict())
        self.model.eval()

    def _one(
        self,
        batch: data.Batch,
        trained: list[nn.Parameter],
        averaged: list[nn.Parameter],
    ) -> float:
        """One step of the optimizer; gives the loss before it."""
        # On CPUs with bf16 instructions this is many times faster; weights stay in fp32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.model(batch.ids, batch.mask)
        value = loss(logits.float(), batch.labels)
        value.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        # Updating the average every tenth step gives the same average for a tenth of the time.
        if self.step % 10 == 0:
            decay = min(self.recipe.average_decay**10, self.step / (self.step + 100))
            with torch.no_grad():
                torch._foreach_lerp_(averaged, trained, 1 - decay)
        return value.item()


def loss(logits: torch.Tensor, labels: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Cross-entropy with the probabilities of POSITIVE in `labels`."""
    positive = torch.as_tensor(labels)
    return F.cross_entropy(logits, torch.stack([1 - positive, positive], dim=1))


def temperature(logits: np.ndarray, labelled: data.Dataset) -> float:
    """What to divide logits by, so that confidence is accuracy (Guo et al., 2017)."""
    candidates = np.geomspace(0.25, 4, 401)
    losses = [
        loss(torch.from_numpy(logits / np.float32(t)), labelled.labels).item()
        for t in candidates
    ]
    return float(candidates[int(np.argmin(losses))])
