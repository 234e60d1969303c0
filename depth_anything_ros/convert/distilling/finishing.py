"""From a taught network to its checkpoint with a record, and to a proven IR."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from depth_anything_ros.convert.conversion import convert, Job
from depth_anything_ros.convert.distilling.job import DistillJob
from depth_anything_ros.convert.distilling.record import DistillationRecord, write_record
from depth_anything_ros.convert.int8.quantize import quantize, QuantizeJob
from depth_anything_ros.convert.network.encoders import EncoderSpec
from depth_anything_ros.convert.network.family import Network
from depth_anything_ros.convert.reading.digests import sha256_of
from depth_anything_ros.convert.staging import staged
from depth_anything_ros.convert.steps import Report
from depth_anything_ros.media.writing import staged_file
import torch


def save_checkpoint(path: Path, network: Network, record: DistillationRecord
                    ) -> DistillationRecord:
    """Write the weights and beside them ``record``, which is returned with their sha256."""
    weights = {name: value.detach().cpu().contiguous()
               for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(path) as file:
        torch.save(weights, file)
    record = replace(record, sha256=sha256_of([path]))
    write_record(path, record)
    return record


def convert_student(job: DistillJob, pictures: Sequence[Path], table: tuple[EncoderSpec, ...],
                    report: Report) -> None:
    """
    Write the IR of a checkpoint that ``save_checkpoint`` wrote.

    INT8 is calibrated and measured with ``pictures``, which the student learned from.
    CheckpointError, ParityError, QualityError or OSError leave no IR behind.
    """
    whole = Job(job.checkpoint, job.output, job.precision, overwrite=job.force)
    if job.precision != 'int8':
        convert(whole, table=table, report=report)
        return
    names = job.folder / 'calibration.txt'
    with staged_file(names) as file:
        file.write_text(''.join(f'{path.resolve()}\n' for path in pictures), encoding='utf-8')
    with staged(job.output, 0) as folder:
        floating = folder / f'{job.output.stem}.xml'
        convert(replace(whole, output=floating, precision='fp16'), table=table, report=report)
        quantize(QuantizeJob(floating, job.output, str(names), force=job.force), report=report)
