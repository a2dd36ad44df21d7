"""Training one run of the demo and saving its checkpoints; run as a module it is a worker process.

A worker is told what to train, one run a line, and answers with its progress. It knows nothing of the other workers.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.demo.recipe import FINAL_LEARNING_RATE, Recipe, Run

if TYPE_CHECKING:
    import torch

REPORT_EVERY = 10
_ORDER_SEED = 1_000  # apart from the seeds of the initialisations


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of the update that ends at ``step`` >= 1: linear warm-up, then cosine to 10 % of the peak."""
    if step <= recipe.warmup_steps:
        return recipe.peak_learning_rate * step / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / (recipe.steps[-1] - recipe.warmup_steps)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return recipe.peak_learning_rate * (FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * cosine)


def initial_model(recipe: Recipe, run: Run) -> Any:
    """A GPT-NeoX model with GPT-NeoX's small initialisation, std = sqrt(2 / (5 d)), drawn from the run's seed.

    The draws are made here, parameter by parameter in the order of their names, because the order in which
    transformers draws them is its own affair and changes between its versions.
    """
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    std = math.sqrt(2 / (5 * run.hidden_size))
    config = GPTNeoXConfig(
        vocab_size=recipe.vocabulary_size,
        hidden_size=run.hidden_size,
        intermediate_size=4 * run.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=run.hidden_size // recipe.head_size,
        max_position_embeddings=recipe.sequence_length,
        initializer_range=std,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPTNeoXForCausalLM(config).to(getattr(torch, recipe.dtype))
    generator = torch.Generator().manual_seed(run.seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.dim() == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * std)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return model


def batches(recipe: Recipe, run: Run, token_ids: torch.Tensor) -> Iterator[torch.Tensor]:
    """Batches [B, L + 1] of windows that start anywhere in the text [N], in the order of the run's seed, without end.

    The extra token is the last one's target.
    """
    import torch

    generator = torch.Generator().manual_seed(_ORDER_SEED + run.seed)
    offsets = torch.arange(recipe.sequence_length + 1)
    while True:
        starts = torch.randint(len(token_ids) - recipe.sequence_length, (recipe.batch_size, 1), generator=generator)
        yield token_ids[starts + offsets]


def train_run(
    recipe: Recipe, run: Run, token_ids: torch.Tensor, save: Callable[[Any, int], None], report: Callable[[int], None]
) -> None:
    """Train one run to the recipe's last step.

    token_ids: [N] int64, the training text. ``save`` gets the model at each of the recipe's steps, ``report`` the
    number of steps trained since it was last called.
    """
    import torch

    model = initial_model(recipe, run)
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.peak_learning_rate,
        betas=(0.9, 0.95),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    if 0 in recipe.steps:
        save(model, 0)
    for step, batch in zip(range(1, recipe.steps[-1] + 1), batches(recipe, run, token_ids), strict=False):
        _update(model, optimiser, batch, learning_rate(recipe, step))
        if step in recipe.steps:
            save(model, step)
        if step % REPORT_EVERY == 0 or step == recipe.steps[-1]:
            report((step - 1) % REPORT_EVERY + 1)


def _update(model: Any, optimiser: torch.optim.Optimizer, batch: torch.Tensor, rate: float) -> None:
    import torch

    for group in optimiser.param_groups:
        group["lr"] = rate
    logits = model(batch[:, :-1]).logits  # [B, L, V]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def save_checkpoint(model: Any, folder: Path, tokenizer_files: list[Path]) -> None:
    """Write a checkpoint in Hugging Face format: float32 safetensors, configuration, and the tokenizer beside them."""
    copy.deepcopy(model).float().save_pretrained(folder)  # of a copy: training goes on in the recipe's own precision
    for file in tokenizer_files:
        shutil.copy(file, folder)


def work(work_folder: Path, checkpoints: Path, orders: Iterable[str], answer: Callable[[str], None]) -> None:
    """Train the run of each order; answer with the number of steps trained now and again, and ``finished`` after a run.

    An order is a run as a JSON object. A run's checkpoints appear under ``checkpoints`` together, when it is finished.
    """
    import numpy
    import torch

    torch.set_num_threads(1)  # processes that share their cores' threads ran ten times slower
    recipe = Recipe.from_json((work_folder / "recipe.json").read_text(encoding="utf-8"))
    token_ids = torch.from_numpy(numpy.load(work_folder / "training_ids.npy"))
    tokenizer_files = sorted(work_folder.glob("tokenizer*.json"))
    for order in orders:
        run = Run(**json.loads(order))
        unfinished = work_folder / run.model / f"seed{run.seed}"

        def save(model: Any, step: int, folder: Path = unfinished) -> None:
            save_checkpoint(model, folder / f"step{step}", tokenizer_files)

        train_run(recipe, run, token_ids, save, lambda steps: answer(str(steps)))
        finished = run.folder(checkpoints)
        finished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.rename(finished)
        answer("finished")


def main() -> None:
    """Worker process: orders come on standard input and answers go to standard output, until either is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent ends its workers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    work(Path(sys.argv[1]), Path(sys.argv[2]), sys.stdin, lambda text: print(text, file=answers, flush=True))


if __name__ == "__main__":
    main()
