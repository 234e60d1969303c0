"""Private parts of rclpy are used in one module, which reports a part that is missing."""

import ast
from collections.abc import Iterator
from pathlib import Path

from depth_anything_ros.ros import rclpy_adapter
from depth_anything_ros.ros.rclpy_adapter import check_rclpy, lifecycle_state, RclpyError
import pytest
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode

PACKAGE = Path(rclpy_adapter.__file__).parents[1]
OTHERS = sorted(path for room in ('node', 'ros', 'demo', 'benchmark')
                for path in (PACKAGE / room).glob('*.py') if path.name != 'rclpy_adapter.py')


def private_parts(text: str) -> Iterator[str]:
    """Yield imports of rclpy.impl and private attributes that the source does not define."""
    tree = ast.parse(text)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.attr for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith('rclpy.impl'):
            yield str(node.module)
        if isinstance(node, ast.Attribute) and node.attr not in own and (
                node.attr.startswith('_') and not node.attr.startswith('__')):
            yield ast.unparse(node)


@pytest.mark.parametrize('file', OTHERS, ids=lambda file: f'{file.parent.name}/{file.stem}')
def test_other_modules_use_public_parts_only(file: Path) -> None:
    assert list(private_parts(file.read_text())) == []


def test_a_private_part_would_be_found() -> None:
    text = 'from rclpy.impl.x import y\nclass A:\n    def f(self): self._state_machine.g()'
    assert list(private_parts(text)) == ['rclpy.impl.x', 'self._state_machine']


def test_a_release_of_rclpy_without_a_private_part_is_reported_in_one_sentence(
        context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    node = LifecycleNode('probed', context=context)
    check_rclpy(node)
    assert lifecycle_state(node) == 'unconfigured'
    monkeypatch.setattr(rclpy_adapter, '_OF_AN_EVENT', ('take_data', 'no_such_method'))
    del node._parameter_overrides
    with pytest.raises(RclpyError, match='this release of rclpy has no LifecycleNode._parameter_'
                                         'overrides.get, EventHandler.no_such_method; use ROS 2'):
        check_rclpy(node)
    node.destroy_node()
