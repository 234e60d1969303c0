"""Which models have passed their self-check on this processor: a mark beside the cached blobs."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov


def proof_file(core: 'ov.Core', xml_path: Path, device: str, precision: str,
               cache_dir: Path | None) -> Path | None:
    """
    Return the file that stands for a passed self-check, or None where it has to run each time.

    Its name holds what the outcome depends on: the files of the model, OpenVINO, the processor and
    the precision. Other devices depend on drivers too, which change unseen, and are checked at
    every start.
    """
    if cache_dir is None or device != 'CPU':
        return None
    import openvino as ov
    weights = xml_path.with_suffix('.bin').stat()
    facts = hashlib.sha256(xml_path.read_bytes())
    for fact in (weights.st_size, weights.st_mtime_ns, ov.__version__,
                 core.get_property(device, 'FULL_DEVICE_NAME'), precision):
        facts.update(f'\0{fact}'.encode())
    return cache_dir / f'self_check_{facts.hexdigest()[:16]}.passed'
