"""The position embedding is the one of the reference code at every size."""

import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.networks.vit import interpolate_positions  # noqa: E402, I100

TABLE = torch.randn(1, 1 + 37 * 37, 8, generator=torch.Generator().manual_seed(0))


def reference(rows: int, columns: int) -> torch.Tensor:
    """Return what the reference code computes by PyTorch's own interpolation, in f64."""
    table = TABLE.double()
    grid = table[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(
        grid, scale_factor=((rows + 0.1) / 37, (columns + 0.1) / 37), mode='bicubic')
    assert grid.shape[2:] == (rows, columns)
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


@pytest.mark.parametrize('grid', [
    (1, 3), (14, 18), (28, 37), (37, 49), (60, 60), (90, 41), (36, 38)])
def test_equals_bicubic_interpolation_by_scale_factor(grid: tuple[int, int]) -> None:
    found = interpolate_positions(TABLE, *grid)
    assert (found - reference(*grid)).abs().max() < 2e-5


def test_is_the_table_itself_where_both_sides_are_37() -> None:
    assert torch.equal(interpolate_positions(TABLE, 37, 37), TABLE)
    assert (reference(37, 37) - TABLE).abs().max() > 1e-3
