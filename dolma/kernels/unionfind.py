"""Connected components by union-find: labels are the smallest node, so they do not depend on the order of the edges."""

import numba
import numpy as np


@numba.njit(cache=True)
def root(parent: np.ndarray, node: int) -> int:
    """The root of a node's tree."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]  # halving: each step shortens the path for the next
        node = parent[node]
    return node


@numba.njit(cache=True)
def components(nodes: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """int64 label of each node, shape (nodes,): the smallest node number of its component.

    Args:
        nodes: how many nodes; they are 0 .. nodes - 1.
        left, right: int64, shape (edges,): the two ends of each edge.
    """
    parent = np.arange(nodes)
    for k in range(len(left)):
        a, b = root(parent, left[k]), root(parent, right[k])
        if a < b:
            parent[b] = a
        elif b < a:
            parent[a] = b
    for node in range(nodes):
        parent[node] = root(parent, node)
    return parent
