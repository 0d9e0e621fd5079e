"""Compiled loop that fills triangles into a depth buffer; imported by the first call only."""

from typing import Any

from libimg._ops.loops import jit

__all__ = ["fill"]

Array = Any  # numpy array


@jit
def fill(
    spots: Array, normals: Array, faces: Array, number: int, depth: Array, owner: Array, way: Array
) -> None:  # pragma: no cover
    """Draw one mesh: ``spots (n, 3)`` column, row and depth in pixels, ``normals (n, 3)``.

    Pixels that it is nearest in get its depth, its number in ``owner`` and its normal in ``way``.
    """
    height, width = depth.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by = spots[a, 0], spots[a, 1], spots[b, 0], spots[b, 1]
        cx, cy = spots[c, 0], spots[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0:
            continue
        left, right = int(min(ax, bx, cx)), int(max(ax, bx, cx)) + 1
        top, bottom = int(min(ay, by, cy)), int(max(ay, by, cy)) + 1
        for i in range(max(top, 0), min(bottom, height)):
            for j in range(max(left, 0), min(right, width)):
                x, y = j + 0.5, i + 0.5
                u = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
                v = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
                w = 1 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                far = w * spots[a, 2] + u * spots[b, 2] + v * spots[c, 2]
                if far < depth[i, j]:
                    depth[i, j] = far
                    owner[i, j] = number
                    for k in range(3):
                        way[i, j, k] = w * normals[a, k] + u * normals[b, k] + v * normals[c, k]
