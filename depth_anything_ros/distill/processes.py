"""
The processes of one training, as torchrun starts them: one is usual, several share the work.

All of them run the same command on the same folders. Gradients are averaged by gloo on CPUs and
by NCCL on CUDA, everything else by gloo.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
import io
import os
import sys
from typing import Any, cast, TYPE_CHECKING, TypeVar

from depth_anything_ros.cli.program import complain
from depth_anything_ros.errors import PeerError, SettingsError

if TYPE_CHECKING:
    from torch import nn, Tensor

# One process may label or validate for long while the others wait; where one fails, torchrun ends
# the others.
_PATIENCE = timedelta(days=30)
_VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE')
_FAILURES = 'failures'
_Any = TypeVar('_Any')


@dataclass(frozen=True)
class Processes:
    """
    This process among those of a training: its number ``rank`` from 0, and their ``count``.

    ``local_rank`` and ``local_count`` are those on this machine. All processes call the same
    methods in the same order; PeerError where another one has ended. A single process needs no
    ``join`` and no other process.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    _store: Any = None

    def join(self, device: str) -> None:
        """
        Connect to the other processes for work on ``device``, 'cpu' or 'cuda'.

        SettingsError if this machine has fewer CUDA devices than processes.
        """
        if self.count == 1:
            return
        import torch

        if device == 'cuda':
            devices = torch.cuda.device_count()
            if self.local_count > devices:
                raise SettingsError(
                    '--nproc-per-node', self.local_count, f'at most {devices}, the CUDA devices '
                    'of this machine; or add --device cpu')
            torch.cuda.set_device(self.local_rank)
        with _peers():
            torch.distributed.init_process_group(
                'cpu:gloo,cuda:nccl' if device == 'cuda' else 'gloo', store=self._store,
                rank=self.rank, world_size=self.count, timeout=_PATIENCE)

    def leave(self) -> None:
        """Disconnect from the others, which may continue or end."""
        if self.count > 1:
            import torch

            torch.distributed.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Return whether this process prints, validates and writes for all."""
        return self.rank == 0

    def check_batch(self, batch: int) -> None:
        """Raise SettingsError unless a batch has equally many images for each process."""
        if batch % self.count:
            raise SettingsError('--batch', batch, f'a multiple of {self.count}, the number of '
                                'processes')

    def part_of_batch(self, batch: int) -> range:
        """Return the positions in a batch of the images of this process."""
        size = batch // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def part(self, items: Sequence[_Any]) -> Sequence[_Any]:
        """Return the items for this process, every ``count``-th one."""
        return items[self.rank::self.count]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Run the block in the leading process first, then in the others."""
        if not self.leads:
            self.any_of(False)
        yield
        if self.leads:
            self.any_of(False)

    def shared(self, make: Callable[[], _Any]) -> _Any:
        """Return in all processes what ``make`` returns in the leading one."""
        first, *_ = self.gathered(make() if self.leads else None)
        return cast('_Any', first)

    def gathered(self, item: _Any) -> list[_Any]:
        """Return the items of all processes in their order."""
        items = [item] * self.count
        if self.count > 1:
            import torch

            with _peers():
                torch.distributed.all_gather_object(items, item)
        return items

    def any_of(self, value: bool) -> bool:
        """Return whether the value is true in any process; waits for all of them."""
        if self.count == 1:
            return value
        import torch

        return bool(self.average(torch.tensor([float(value)])).item())

    def average(self, values: 'Tensor') -> 'Tensor':
        """Return the mean of a tensor over the processes, without gradient."""
        if self.count == 1:
            return values
        import torch

        total = values.detach().clone()
        with _peers():
            torch.distributed.all_reduce(total)
        return total / self.count

    def average_gradients(self, parameters: 'Sequence[nn.Parameter]', loss: 'Tensor') -> float:
        """Replace each gradient by its mean over the processes and return the mean loss."""
        if self.count == 1:
            return loss.item()
        import torch

        gradients = [one.grad for one in parameters if one.grad is not None]
        parts = [*(one.flatten() for one in gradients), loss.detach().reshape(1)]
        means = self.average(torch.cat(parts)).split([len(part) for part in parts])
        for gradient, mean in zip(gradients, means):
            gradient.copy_(mean.view_as(gradient))
        return means[-1].item()

    def copy_weights(self, network: 'nn.Module') -> None:
        """Give a network on the CPU the weights that it has in the leading process."""
        if self.count > 1:
            import torch

            with _peers():
                for value in network.state_dict().values():
                    torch.distributed.broadcast(value, 0)

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Print nothing but errors from the block unless this process leads."""
        with ExitStack() as stack:
            if not self.leads:
                stack.enter_context(redirect_stdout(io.StringIO()))
                stack.enter_context(redirect_stderr(io.StringIO()))
            yield

    def complain(self, sentence: object) -> None:
        """Print one error line in the first process that calls this, none in the others."""
        try:
            is_first = self._store is None or self._store.add(_FAILURES, 1) == 1
        except RuntimeError:
            # The process that kept the count has ended, and it printed a line.
            is_first = False
        if is_first:
            with redirect_stderr(sys.__stderr__ if self.rank else sys.stderr):
                complain(sentence)


ALONE = Processes()


def find_processes() -> Processes:
    """Return this process among those of its torchrun, or alone."""
    found = [os.environ.get(name, '') for name in _VARIABLES]
    if not all(text.isdecimal() for text in found) or int(found[1]) == 1:
        return ALONE
    # gloo and the store would report each process that ends in lines of their own.
    os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'ERROR')
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous('env://'))
    return Processes(rank, count, int(found[2]), int(found[3]), store)


@contextmanager
def _peers() -> Iterator[None]:
    """Turn an error of the connection into a PeerError."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError from error
