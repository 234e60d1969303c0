"""The options of ``depth_anything_distill``."""

from dataclasses import replace
from pathlib import Path
import re
from typing import Annotated, Literal

from depth_anything_ros.cli.options import RayAddress, RayCpus
from depth_anything_ros.cli.program import require_packages
from depth_anything_ros.cli.progress import counting, open_console, StepReport
from depth_anything_ros.convert.commands.options import (
    EncoderOption, KindOption, MaxDepthOption, OfflineOption, VersionOption, YesOption)
from depth_anything_ros.convert.hub.resolve import DownloadOptions, local_source
from depth_anything_ros.distill import PROGRAM
from depth_anything_ros.distill.job import (
    default_recipe, DistillJob, LARGEST_BATCH, MEDIUM, MILD, Recipe, Selection, STRONG)
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.fleet.cluster import FleetOptions
from depth_anything_ros.model_info import Precision
from depth_anything_ros.networks.models import input_spec_of, InputSpec
import typer

EXAMPLES = """depth_anything_distill vits photos -o models/mine.xml
depth_anything_distill vits drive.mcap photos -o models/mine.xml --every 15 --flip --sizes 392,518
depth_anything_distill vits drive -o models/mine.xml --start models/depth_anything_tiny.xml
depth_anything_distill models/large.xml photos -o models/mine.xml --start vits.pth
depth_anything_distill vitb photos -o models/mine.xml --yes --start vits.pth --matching 2000
depth_anything_distill vits photos -o models/mine.xml --student vitt --device cuda
depth_anything_distill vitl photos -o /nfs/mine.xml --labels-only --shard 2/8
depth_anything_distill vitl /nfs/drives -o /nfs/mine.xml --ray head:6379 --every 15"""

StudentName = Literal['tiny', 'vitt']
Strength = Literal['mild', 'medium', 'strong']
Device = Literal['auto', 'cpu', 'cuda']
_AUGMENTATIONS = {'mild': MILD, 'medium': MEDIUM, 'strong': STRONG}


def command(
        context: typer.Context,
        teacher: Annotated[str, typer.Argument(
            metavar='TEACHER', help='A .pth or .safetensors file, a Hugging Face folder, an .onnx '
            'or .xml file, or a short name or hub id to download.')],
        data: Annotated[list[str], typer.Argument(
            metavar='DATA...', help='Folders or lists of photographs or videos, videos, ROS 2 '
            'bags.')],
        output: Annotated[Path, typer.Option(
            '--output', '-o', metavar='NAME.xml', help='Path of the IR; the checkpoint NAME.pth '
            'goes beside it.')],
        student: Annotated[StudentName, typer.Option(
            '--student', help='tiny: the encoder of ViT-S for small images, which begins with the '
            'weights of the teacher; vitt: a narrow vision transformer that needs many more '
            'images.')] = 'tiny',
        steps: Annotated[int, typer.Option(
            '--steps', min=1, help='Number of training steps.')] = 10000,
        batch: Annotated[int, typer.Option(
            '--batch', min=1, max=LARGEST_BATCH, help='Images per step.')] = Recipe.batch,
        crop: Annotated[str, typer.Option(
            '--crop', metavar='HxW|PX', help='Size in pixels of the crops that the student sees.',
            show_default='196x266, 196x252 for vitt')] = '',
        encoder_rate: Annotated[float | None, typer.Option(
            '--encoder-rate', min=0, help='Peak learning rate of the encoder.',
            show_default='0.00002, 0.0001 for vitt')] = None,
        head_rate: Annotated[float | None, typer.Option(
            '--head-rate', min=0, help='Peak learning rate of all other weights.',
            show_default='0.0001, 0.0005 for vitt')] = None,
        matching: Annotated[int, typer.Option(
            '--matching', min=0, metavar='N', help='In the first N steps the student learns '
            "the teacher's tokens instead of its labels.")] = 0,
        gradient_weight: Annotated[float, typer.Option(
            '--gradient-weight', min=0, help='Weight of the error of the gradients, for sharp '
            'edges; the error of the depth has 1.')] = Recipe.gradient_weight,
        order_weight: Annotated[float, typer.Option(
            '--order-weight', min=0, help='Weight of the error of the order, in which far pixels '
            'count like near ones.')] = Recipe.order_weight,
        weight_decay: Annotated[float, typer.Option(
            '--weight-decay', min=0, help='Weight decay of the optimizer AdamW.')
        ] = Recipe.weight_decay,
        drop_path: Annotated[float, typer.Option(
            '--drop-path', min=0, max=0.9, help='Share of images for which the deepest residual '
            'branch of the encoder is skipped; against overfitting.')
        ] = Recipe.drop_path,
        augmentation: Annotated[Strength, typer.Option(
            '--augmentation', help='How strongly images are changed; strong, as in the papers, '
            'is for trainings that see each image many tens of times.')] = 'mild',
        seed: Annotated[int, typer.Option(
            '--seed', min=0, max=2 ** 63 - 1, help='Seed of all random choices.')] = 0,
        start: Annotated[Path | None, typer.Option(
            '--start', metavar='NAME.pth|NAME.xml', help='Begin with the checkpoint or IR of a '
            'student, or, for tiny, with the encoder of a ViT-S.',
            show_default="the teacher's encoder, random weights for vitt")] = None,
        every: Annotated[int, typer.Option(
            '--every', min=1, metavar='N', help='Use every Nth frame of videos and bags.')] = 10,
        topic: Annotated[str | None, typer.Option(
            '--topic', help='Image topic of bags that have several.')] = None,
        hold_out: Annotated[int, typer.Option(
            '--hold-out', min=2, metavar='N', help='Hold out the images whose number is '
            'divisible by N: the student is validated on them and never learns from them.')] = 10,
        label_size: Annotated[int, typer.Option(
            '--label-size', min=32, metavar='PX', help='Reduce larger images to this short side '
            'before they are labelled.')] = 384,
        sizes: Annotated[str, typer.Option(
            '--sizes', metavar='PX,...', help="Short sides of the teacher's input; the labels of "
            'several are averaged.', show_default="the teacher's default")] = '',
        flip: Annotated[bool, typer.Option(
            '--flip', help='Average each label with that of the mirrored image.')] = False,
        validate_every: Annotated[int, typer.Option(
            '--look-every', min=1, metavar='N', help='Compare the student with the teacher on '
            'held-out images every N steps.')] = 500,
        device: Annotated[Device, typer.Option(
            '--device', help='Device of PyTorch; auto uses CUDA where it is available.')] = 'auto',
        work: Annotated[Path | None, typer.Option(
            '--work', metavar='FOLDER', help='Folder for frames, labels and the state of the '
            'training.', show_default='NAME.distill beside the output')] = None,
        precision: Annotated[Precision, typer.Option(
            '--precision', help='Precision of the stored weights; int8 is fp16, then quantized '
            'with training images, and trained in INT8 where that loses too much.')] = 'fp16',
        licence: Annotated[str | None, typer.Option(
            '--licence', metavar='TEXT', help='Licence of the student.',
            show_default='that of its teacher and its start')] = None,
        kind: KindOption = None,
        max_depth: MaxDepthOption = None,
        model_version: VersionOption = None,
        encoder: EncoderOption = None,
        labels_only: Annotated[bool, typer.Option(
            '--labels-only', help='Stop when the images are labelled; the same command without '
            'it finds the labels.')] = False,
        shard: Annotated[str, typer.Option(
            '--shard', metavar='I/N', help='With --labels-only: label only the Ith of N parts of '
            'the images, so that N machines share the work in one --work folder.',
            show_default='all images')] = '',
        ray: RayAddress = None,
        ray_cpus: RayCpus = 0,
        force: Annotated[bool, typer.Option(
            '--force', help='Replace an output that exists; start over in a work folder that was '
            'made with other options.')] = False,
        yes: YesOption = False,
        offline: OfflineOption = False) -> None:
    """
    Distil a large Depth Anything into a small one on your own images.

    The teacher labels each image once, the student learns from the labels, and the result is an
    IR for the node and all programs. The student's depth is always relative. After an
    interruption the same command continues. ``depth_anything_distill metric`` instead teaches a
    model metres, see its --help.
    """
    require_packages(PROGRAM, 'numpy', 'cv2', 'torch', 'onnx', 'onnxscript', 'onnxruntime',
                     'openvino', 'matplotlib', *(['nncf'] if precision == 'int8' else []))
    from depth_anything_ros.convert.sources.identity import Overrides
    from depth_anything_ros.distill.distill import distill
    default = default_recipe(student, steps)
    recipe = replace(
        default, batch=batch, matching=matching,
        crop_hw=(
            parse_crop(crop, input_spec_of(student), student) if crop else default.crop_hw),
        encoder_rate=default.encoder_rate if encoder_rate is None else encoder_rate,
        head_rate=default.head_rate if head_rate is None else head_rate,
        weight_decay=weight_decay, warmup=min(Recipe.warmup, steps // 10), drop_path=drop_path,
        gradient_weight=gradient_weight, order_weight=order_weight, seed=seed,
        augmentation=_AUGMENTATIONS[augmentation])
    table, processes = context.obj
    processes.check_batch(batch)
    if ray is not None and processes.count > 1:
        raise SettingsError('--ray', ray, 'left out in a training by torchrun; make the labels '
                            'with --labels-only first')
    # With --ray the machines of the cluster label, and this one may have no GPU.
    chosen = 'cpu' if ray is not None and labels_only else torch_device(device)
    processes.join(chosen)
    console = open_console()
    with StepReport(console) as report:
        with processes.in_turn():
            path = local_source(teacher, output.parent, DownloadOptions(yes, offline), report)
        job = DistillJob(
            path, tuple(data), output, recipe, student, Selection(every, topic, label_size),
            _parse_sizes(sizes), flip, hold_out, validate_every, chosen, work,
            precision, licence, start, Overrides(kind, model_version, max_depth, encoder), force,
            labels_only, _parse_shard(shard, labels_only),
            None if ray is None else FleetOptions(ray, ray_cpus, gpus=device != 'cpu'), device)
        model = distill(job, table=table, report=report, counting=counting(console, report),
                        processes=processes)
    if model is None:
        print(f'the labels are in {job.folder}; the same command without --labels-only trains')
        return
    size_mb = output.with_suffix('.bin').stat().st_size / 1e6
    record = model.record
    print(f'{model.path} is ready ({size_mb:.1f} MB of weights beside it): rank correlation with '
          f'the teacher {record.rank_correlation:.4f}, mean of {record.held_out} held-out images')
    print(f'try it: depth_anything_run {model.path} --input {data[0]}')


def parse_crop(text: str, input_spec: InputSpec, student: str) -> tuple[int, int]:
    """Return (height, width) that the student takes; SettingsError for another text."""
    multiple = input_spec.multiple
    match = re.fullmatch(r'(\d+)(?:x(\d+))?', text)
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(side and side % multiple == 0 for side in sides):
        raise SettingsError('--crop', text, f'HEIGHTxWIDTH or one side, multiples of {multiple} '
                            f'for the student {student}')
    return sides


def _parse_sizes(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r'|[1-9]\d*(,[1-9]\d*)*', text):
        raise SettingsError('--sizes', text, 'sides in pixels with commas between, such as '
                            '518,700')
    return tuple(map(int, filter(None, text.split(','))))


def _parse_shard(text: str, labels_only: bool) -> tuple[int, int]:
    """Return (number, count) of a part of the images; SettingsError for another text."""
    if not text:
        return 1, 1
    if not labels_only:
        raise SettingsError('--shard', text, 'left out, or used with --labels-only: a training '
                            'needs the labels of all images')
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise SettingsError('--shard', text, 'PART/PARTS with a part from 1 to the number of '
                            'parts, such as 2/8')
    return number, count


def torch_device(choice: str) -> str:
    """Return 'cpu' or 'cuda'; SettingsError if PyTorch sees no CUDA device."""
    import torch
    has_cuda = torch.cuda.is_available()
    if choice == 'cuda' and not has_cuda:
        raise SettingsError('--device', choice, 'cpu or auto, because PyTorch sees no CUDA device')
    return 'cuda' if has_cuda and choice != 'cpu' else 'cpu'
