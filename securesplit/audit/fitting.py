"""Fits of the attackers' models, as near to the optimum as their solvers come."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_near_as_it_comes() -> Iterator[None]:
    """Within it scikit-learn does not warn of solvers that stopped before their tolerance was reached.

    L-BFGS says so where so few steps are meant, and where rounding keeps it from a last one; an attack is judged by
    what its model finds, not by how near the model is to its optimum.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
