"""Batches made in a process of their own, beside the training."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import InputError
from training.faces.compose import compose
from training.faces.data import Scene, read_scenes
from training.faces.photometry import develop
from training.faces.recipe import Recipe
from training.faces.targets import COLUMNS, STRIDES, targets

Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Pictures (n, side, side, 1) and targets (n, cells, 17)."""
_AHEAD = 6
_PATIENCE_S = 120


def steps_of(recipe: Recipe) -> int:
    """Batches of one epoch."""
    return recipe.pictures // recipe.batch_size


def batches(archive: Path, recipe: Recipe, first_epoch: int) -> Iterator[Batch]:
    """All batches from an epoch (0 is the first) to the last one; an epoch's are the same whenever it is begun.

    Raises InputError where the process that makes them has ended.
    """
    # Not a fork: TensorFlow's threads do not survive one.
    context = multiprocessing.get_context("spawn")
    made: multiprocessing.Queue[Batch] = context.Queue(_AHEAD)
    worker = context.Process(
        target=_fill, args=(made, archive, recipe), kwargs={"first_epoch": first_epoch}, daemon=True
    )
    worker.start()
    try:
        for _ in range((recipe.epochs - first_epoch) * steps_of(recipe)):
            yield _next(made, worker)
    finally:
        worker.terminate()
        worker.join()


def _next(made: multiprocessing.Queue[Batch], worker: multiprocessing.process.BaseProcess) -> Batch:
    for _ in range(_PATIENCE_S):
        try:
            return made.get(timeout=1)
        except queue.Empty:
            if not worker.is_alive():
                break
    raise InputError("the process that makes the training pictures has ended or is stuck; its reason is above")


def _fill(made: multiprocessing.Queue[Batch], archive: Path, recipe: Recipe, *, first_epoch: int) -> None:
    cv2.setNumThreads(1)
    scenes, parent = read_scenes(archive, "train"), os.getppid()
    for epoch in range(first_epoch, recipe.epochs):
        rng = np.random.default_rng((recipe.seed, epoch))
        for _ in range(steps_of(recipe)):
            batch = make_batch(scenes, recipe, rng)
            while True:
                try:
                    made.put(batch, timeout=5)
                    break
                except queue.Full:
                    if os.getppid() != parent:
                        os._exit(0)  # nobody fetches what is still in the queue, and a usual end would wait for that


def make_batch(scenes: list[Scene], recipe: Recipe, rng: np.random.Generator) -> Batch:
    """One batch of new pictures."""
    side = recipe.composition.side
    cells = sum((side // stride) ** 2 for stride in STRIDES)
    images = np.empty((recipe.batch_size, side, side, 1), np.uint8)
    wanted = np.empty((recipe.batch_size, cells, COLUMNS), np.float32)
    for row in range(recipe.batch_size):
        image, faces = compose(scenes, recipe.composition, rng)
        images[row, :, :, 0] = develop(image, recipe.photometry, rng)
        wanted[row] = targets(faces, side, recipe.assignment)
    return images, wanted
