"""More pictures than the catalogue has: parts of them, mirrored or not."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator
from PIL import Image, ImageOps, UnidentifiedImageError

from tailrec import columns as c
from tailrec.data.augment import Augment
from tailrec.data.synthetic import SYNTHETIC

log = logging.getLogger(__name__)

SIZE: Final = 224
"""Sides of a crop, in pixels: what encoders of pictures take."""
_NARROW: Final = np.log(3 / 4)
"""Logarithm of the narrowest shape of a crop; the widest is as wide as this one is high."""


def crop(picture: Image.Image, recipe: Augment, rng: Generator, *, size: int = SIZE) -> Image.Image:
    """A part of a picture, brought to one size.

    Args:
        picture: any.
        recipe: `crop`, the smallest share of the area that is kept (0: all of it), and `flip`.
        rng: draws place, shape and whether it is mirrored; the same rng gives the same crop.
        size: sides of the result, in pixels.

    Returns:
        RGB, size by size.

    Source:
        Szegedy et al. 2015, arXiv:1409.4842, section 6.
    """
    plain = ImageOps.exif_transpose(picture).convert("RGB")
    width, height = plain.size
    share = rng.uniform(recipe.crop, 1) if recipe.crop > 0 else 1.0
    shape = np.exp(rng.uniform(_NARROW, -_NARROW)) if recipe.crop > 0 else width / height
    area = share * width * height
    wide = int(np.clip(round(np.sqrt(area * shape)), 1, width))
    high = int(np.clip(round(np.sqrt(area / shape)), 1, height))
    left, top = (int(rng.integers(0, room + 1)) for room in (width - wide, height - high))
    part = plain.resize(
        (size, size), Image.Resampling.BICUBIC, (left, top, left + wide, top + high)
    )
    return ImageOps.mirror(part) if rng.random() < recipe.flip else part


def write_crops(
    pictures: Mapping[str, Path],
    folder: Path,
    recipe: Augment,
    rng: Generator,
    *,
    each: int = 1,
) -> pl.DataFrame:
    """Crops of items' pictures, as PNG files.

    Args:
        pictures: file of each item's picture, by item id; files that are missing or no pictures
            are left out, and one log line says how many.
        folder: where they are written, made where missing.
        recipe: how they are cut.
        rng: draws.
        each: crops of a picture.

    Returns:
        item_id, images (path of the file) and `SYNTHETIC` (true), a row a crop.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, lost = [], []
    for number, (item_id, path) in enumerate(pictures.items()):
        try:
            with Image.open(path) as picture:
                parts = [crop(picture, recipe, rng) for _ in range(each)]
        except (OSError, UnidentifiedImageError):
            lost.append(item_id)
            continue
        for place, part in enumerate(parts):
            file = folder / f"{number:06d}-{place}.png"
            part.save(file)
            rows.append((item_id, str(file)))
    if lost:
        log.warning("%d pictures cannot be read, such as that of %r", len(lost), lost[0])
    schema = {c.ITEM_ID: pl.String, c.IMAGES: pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.lit(True).alias(SYNTHETIC)
    )
