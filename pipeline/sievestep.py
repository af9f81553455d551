"""The step `sieve`: the faces of all strips become those of the scene, and small ones go into their neighbours."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID
from rspipe.pipeline import store
from rspipe.pipeline.contacts import Contacts, borders, contacts_between, exposed_between
from rspipe.pipeline.coverage import NO_CHANCES, Counts, Holes, Rule, sieve
from rspipe.pipeline.facestep import read_chances, read_contacts, read_exposed, read_part, read_sizes
from rspipe.pipeline.giants import cut
from rspipe.pipeline.ground import Ground, measure
from rspipe.pipeline.inferred import CLASSES
from rspipe.pipeline.settled import Settled, Sifted
from rspipe.pipeline.task import Receipt
from rspipe.pipeline.unite import Part, United, unite
from rspipe.pipeline.vectorjob import SIEVED, VectorizeJob


def settle(job: VectorizeJob) -> Receipt:
    """Unite the faces of all strips and sieve them.

    Raises:
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    ground, strips = measure(job.grid), range(len(job.blocks))
    parts = [read_part(job, strip) for strip in strips]
    united = unite(parts)
    found = [united.total(sizes) for sizes in zip(*(read_sizes(job, strip) for strip in strips), strict=True)]
    pixels, areas = found
    holes = Holes(job.fill_below(ground), _exposed(job, parts, united))
    rule = Rule(job.least(ground), holes, _chances(job, united))
    small = (areas < rule.least[united.classes]) | (areas < holes.below)
    merged = sieve(united.classes, areas, borders(_contacts(job, (parts, united), ground), small), rule)
    totals = []
    for sizes in found:
        total = np.zeros(len(merged.classes), np.int64)
        np.add.at(total, merged.numbers, sizes)
        totals.append(total)
    settled = Settled(
        classes=merged.classes,
        pixels=totals[0],
        areas=totals[1],
        first=np.cumsum([0, *(len(numbers) for numbers in united.numbers)]),
        numbers=merged.numbers[np.concatenate(united.numbers)],
    )
    outputs = [job.sieve_file, *_lay_out(job)]
    settled.write(job.sieve_file)
    if job.max_vertices is not None:
        cut(Sifted(job, settled), job.max_vertices)
        outputs += [job.chequered_file, job.parts_file]
    counts = _counts(job, merged.classes, totals[0], np.multiply(totals[1], ground.areas.unit, dtype=np.float64))
    counts |= {"faces": len(merged.classes), "sieved_faces": len(pixels) - len(merged.classes)}
    return Receipt(outputs=tuple(outputs), counts=counts)


def _lay_out(job: VectorizeJob) -> tuple[Path, ...]:
    """Lay out the raster that strips are written into; one with the same layout stays as it is."""
    source = store.open_array(job.inferred, CLASSES)
    shards = source.shards or source.chunks
    plan = store.ArrayPlan(
        name=CLASSES,
        shape=source.shape,
        dtype="uint8",
        shard_px=(shards[0], shards[1]),
        chunk_px=(source.chunks[0], source.chunks[1]),
        fill=NODATA_ID,
        attributes={"long_name": "class, small faces merged into their neighbours"},
    )
    store.create(job.vectors / SIEVED, job.grid, [plan])
    return store.written_files(job.vectors / SIEVED, [CLASSES], slice(0, 0))


def _contacts(job: VectorizeJob, found: tuple[list[Part], United], ground: Ground) -> list[Contacts]:
    parts, united = found
    inside = []
    for strip, numbers in enumerate(united.numbers):
        some = read_contacts(job, strip)
        inside.append(Contacts.of(numbers[some.ones], numbers[some.others], some.lengths))
    return [*inside, contacts_between(parts, united, ground)]


def _chances(job: VectorizeJob, united: United) -> Counts:
    if not job.by_probability:
        return NO_CHANCES
    chances = np.zeros((len(united.classes), len(job.legend.classes)), np.int64)
    for strip, numbers in enumerate(united.numbers):
        np.add.at(chances, numbers, read_chances(job, strip))
    return chances


def _exposed(job: VectorizeJob, parts: list[Part], united: United) -> NDArray[np.bool_]:
    exposed = np.zeros(len(united.classes), np.bool_)
    for strip, numbers in enumerate(united.numbers):
        exposed[numbers[read_exposed(job, strip)]] = True
    exposed[exposed_between(parts, united)] = True
    return exposed


def _counts(
    job: VectorizeJob, classes: NDArray[np.uint8], pixels: Counts, areas_m2: NDArray[np.float64]
) -> dict[str, int | float]:
    counts: dict[str, int | float] = {"valid_px": int(pixels.sum())}
    for entry in job.legend.classes:
        mine = classes == entry.id
        counts[f"class_{entry.id}_px"] = int(pixels[mine].sum())
        counts[f"class_{entry.id}_m2"] = float(areas_m2[mine].sum())
    return counts
