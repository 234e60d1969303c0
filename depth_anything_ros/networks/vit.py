"""
The vision transformer of Depth Anything (DINOv2) for images of any size, in plain operators.

Attribute names are those of the official state dicts. Source: Oquab et al., DINOv2 (2023), and
the reference code of Depth Anything.
"""

from depth_anything_ros.networks.drop_path import DropPath
from depth_anything_ros.networks.models import EncoderSpec, GRID, PATCH
import torch
from torch import nn, Tensor
from torch.nn import functional

_CUBIC_A = -0.75
_CUBIC_REACH = 2
# Of all norms, and of the last one of version 3.
_EPSILON, _EPSILON_V3 = 1e-6, 1e-5


class VisionTransformer(nn.Module):
    """Image [N, 3, H, W] to the normalised patch tokens [N, H/14 * W/14, D] of some blocks."""

    def __init__(self, spec: EncoderSpec, blocks_read: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks_read = blocks_read
        self.cls_token = nn.Parameter(torch.zeros(1, 1, spec.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID * GRID, spec.width))
        if not spec.is_v3:
            # Every published state dict has it, but only the pretraining of the encoder used it.
            self.mask_token = nn.Parameter(torch.zeros(1, spec.width))
        self.patch_embed = PatchEmbedding(spec.width)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.depth))
        self.norm = nn.LayerNorm(spec.width, eps=_EPSILON_V3 if spec.is_v3 else _EPSILON)

    def forward(self, image: Tensor) -> list[Tensor]:
        tokens = self.embed(image)
        outputs = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in self.blocks_read:
                outputs.append(self.norm(tokens)[:, 1:])
        return outputs

    def embed(self, image: Tensor) -> Tensor:
        """Return the input of the first block [N, 1 + H/14 * W/14, D], the class token first."""
        patches: Tensor = self.patch_embed(image)
        count, width = patches.shape[:2]
        rows, columns = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        tokens = patches.reshape(count, width, rows * columns).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(count, -1, -1), tokens], dim=1)
        return tokens + interpolate_positions(self.pos_embed, rows, columns)


class PatchEmbedding(nn.Module):
    """Image [N, 3, H, W] to one vector per patch [N, D, H/14, W/14]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)

    def forward(self, image: Tensor) -> Tensor:
        patches: Tensor = self.proj(image)
        return patches


class Block(nn.Module):
    """One transformer block on tokens [N, T, D]."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(spec.width, eps=_EPSILON)
        self.attn = Attention(spec.width, spec.heads)
        self.ls1 = LayerScale(spec.width)
        self.drop1 = DropPath()
        self.norm2 = nn.LayerNorm(spec.width, eps=_EPSILON)
        feed_forward = Mlp if spec.feed_forward == 'mlp' else SwiGlu
        self.mlp = feed_forward(spec.width, spec.hidden_width)
        self.ls2 = LayerScale(spec.width)
        self.drop2 = DropPath()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.feed_forward(self.attend(tokens))

    def attend(self, tokens: Tensor) -> Tensor:
        """Return the tokens after the first half of the block, the attention."""
        tokens = tokens + self.drop1(self.ls1(self.attn(self.norm1(tokens))))
        return tokens

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens after the second half of the block."""
        tokens = tokens + self.drop2(self.ls2(self.mlp(self.norm2(tokens))))
        return tokens


class Attention(nn.Module):
    """Multi-head self-attention on tokens [N, T, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        qkv: Tensor = self.qkv(tokens)
        qkv = qkv.reshape(count, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax((query * self.scale) @ key.transpose(-2, -1), dim=-1)
        mixed: Tensor = self.proj((weights @ value).transpose(1, 2).reshape(count, length, width))
        return mixed


class LayerScale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class Mlp(nn.Module):
    """Feed-forward part of all models but vitg."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.fc2(self.activations(tokens))
        return result

    def activations(self, tokens: Tensor) -> Tensor:
        """Return what the hidden neurons give for tokens [N, T, D]: [N, T, hidden]."""
        return functional.gelu(self.fc1(tokens))


class SwiGlu(nn.Module):
    """Feed-forward part of vitg (Shazeer, GLU variants improve transformer, 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        result: Tensor = self.w3(functional.silu(gate) * value)
        return result


def interpolate_positions(table: Tensor, rows: int, columns: int) -> Tensor:
    """
    Return position embeddings [1, 1 + rows * columns, D] from the table [1, 1 + 37 * 37, D].

    The first entry belongs to the class token and is not changed. Source: DINOv2's interpolation
    as the reference code calls it: the table itself at 37x37, else bicubic (a = -0.75, no
    antialiasing) with scale_factor = (n + 0.1) / 37 per axis. Cubic interpolation is separable, so
    this is a product with one small matrix per axis, which a runtime folds to a constant once the
    size is known.
    """
    width = table.shape[-1]
    unchanged = (_tensor(rows) == GRID) & (_tensor(columns) == GRID)
    vertical = _axis_weights(rows, unchanged)
    horizontal = _axis_weights(columns, unchanged)
    grid = table[0, 1:].reshape(GRID, GRID * width)
    grid = (vertical @ grid).reshape(rows, GRID, width)
    grid = (horizontal @ grid).reshape(1, rows * columns, width)
    return torch.cat([table[:, :1], grid], dim=1)


def _axis_weights(count: int, unchanged: Tensor) -> Tensor:
    """Return the weights [count, 37] of the table's entries along one axis."""
    index = torch.arange(count, dtype=torch.float32)[:, None]
    # (n + 0.1) / 37 in integers, which stay exact as 16-bit constants of a file.
    scaled = (index + 0.5) * (10 * GRID) / (10 * _tensor(count) + 1) - 0.5
    source = torch.where(unchanged, index, scaled)
    taps = torch.arange(-_CUBIC_REACH, GRID + _CUBIC_REACH)
    replicate = (taps.clamp(0, GRID - 1)[:, None] == torch.arange(GRID)[None]).float()
    return _cubic(source - taps[None]) @ replicate


def _cubic(offset: Tensor) -> Tensor:
    """Return the cubic convolution kernel: exactly 1 at 0 and 0 at every other integer."""
    x = offset.abs()
    near = ((_CUBIC_A + 2) * x - (_CUBIC_A + 3)) * x * x + 1
    far = ((_CUBIC_A * x - 5 * _CUBIC_A) * x + 8 * _CUBIC_A) * x - 4 * _CUBIC_A
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _tensor(size: int) -> Tensor:
    """Return a size as a tensor, so that an exported graph keeps comparisons with it."""
    return torch.ones(size).sum()
