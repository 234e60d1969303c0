"""
A short training of a stand-in that several processes share: ``python joint_training.py MODE DIR``.

The images and the state to resume from are in the folder, the results are written there.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
import json
import os
from pathlib import Path
import sys

from checkpoints import random_weights, TINY
import cv2
from depth_anything_ros.cli.program import run_program
from depth_anything_ros.cli.progress import count_in_lines
from depth_anything_ros.distill import PROGRAM
from depth_anything_ros.distill.dataset import LabelledImage
from depth_anything_ros.distill.job import Recipe, STRONG
from depth_anything_ros.distill.processes import find_processes, Processes
from depth_anything_ros.distill.students import vit_student
from depth_anything_ros.distill.train_loop import follow, resume, RunFolder, save_state, train
from depth_anything_ros.distill.trainer import Trainer
from depth_anything_ros.networks.depth_anything import build_network
import numpy as np
import torch

RECIPE = Recipe(steps=4, batch=4, crop_hw=(28, 42), warmup=1, drop_path=0.5, alignment_weight=1.0,
                augmentation=replace(STRONG, cutmix_chance=1.0))


def write_images(folder: Path) -> None:
    """Write eight images and their labels."""
    generator = np.random.default_rng(0)
    for index in range(8):
        coarse = generator.integers(0, 255, (4, 5, 3), np.uint8)
        picture = cv2.resize(coarse, (70, 56), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{index}.png'), picture)
        np.save(folder / f'{index}.npy', 1 + picture.mean(2).astype(np.float16) / 64)


class ExactTrainer(Trainer):
    """A trainer in f32 on every CPU: rounding to bf16 would hide small mistakes."""

    def _autocast(self) -> torch.autocast:
        return torch.autocast('cpu', torch.bfloat16, enabled=False)


def make_trainer(folder: Path, processes: Processes, label: str = '{}.npy') -> Trainer:
    """Return a trainer that aligns tokens, pastes and skips branches, with labels of this name."""
    images = [LabelledImage(folder / f'{index}.png', folder / label.format(index))
              for index in range(8)]
    teacher = build_network(TINY, 'v2', None, random_weights(TINY, seed=1))
    torch.manual_seed(0)
    student = vit_student(TINY)
    if not processes.leads:
        torch.nn.init.zeros_(student.network.pretrained.pos_embed)
    processes.copy_weights(student.network)
    return ExactTrainer(student, RECIPE, images, teacher=teacher, processes=processes)


def whole(folder: Path, processes: Processes) -> None:
    """Train all steps, save the state after two of them and note the losses of each process."""
    trainer = make_trainer(folder, processes)
    losses = [result.loss for result in islice(trainer.run(), 2)]
    if processes.leads:
        save_state(folder / 'half.pth', trainer)
    losses += [result.loss for result in trainer.run()]
    weights = [value.double().sum().item() for value in trainer.averaged.values.values()]
    found = processes.gathered({'losses': losses, 'weights': weights})
    if processes.leads:
        torch.save(trainer.averaged.values, folder / 'weights.pth')
        (folder / 'found.json').write_text(json.dumps(found))


def rest(folder: Path, processes: Processes) -> None:
    """Continue from the state in the folder to the end, as the program does."""
    trainer = make_trainer(folder, processes)
    run = RunFolder(folder)
    with processes.in_turn():
        resume(run, trainer, False)
    assert trainer.step == 2
    if processes.leads:
        train(run, trainer, trainer.images[:1], 500, [].append,
              partial(count_in_lines, [].append))
    else:
        follow(trainer)


def lacking(folder: Path, processes: Processes) -> None:
    """Train with an image that one process does not find."""
    label = 'none.npy' if processes.rank == 1 else '{}.npy'
    list(make_trainer(folder, processes, label).run())


def dying(folder: Path, processes: Processes) -> None:
    """Train until one process ends without a word."""
    for result in make_trainer(folder, processes).run():
        if processes.rank == 1 and result.step == 2:
            os._exit(9)


def main(mode: str, folder: str) -> int:
    """Run one of the functions above as the program would, and return its exit status."""
    processes = find_processes()
    run: Callable[[Path, Processes], None] = {
        'whole': whole, 'rest': rest, 'lacking': lacking, 'dying': dying}[mode]

    def joined() -> None:
        processes.join('cpu')
        run(Path(folder), processes)
        processes.leave()

    with processes.one_voice():
        return run_program(replace(PROGRAM, print_error=processes.complain), joined)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
