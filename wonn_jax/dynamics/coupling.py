"""Couplings: which oscillators receive the influences of which."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

if TYPE_CHECKING:  # it needs SciPy, which whoever uses no sparse matrix need not have
    from jax.experimental import sparse

Coupling: TypeAlias = Union[Callable[[Array], Array], ArrayLike, "sparse.BCOO", "sparse.BCSR"]


def apply_coupling(coupling: Coupling, influence: Array) -> Array:
    """The field of a coupling.

    Args:
      coupling: a function, applied to all of `influence`; or a matrix K `[n, n]`, dense or sparse
        (BCOO, BCSR, any of SciPy's): Σ_j K_ij I_j on the last axis.
      influence: `[..., n]`.

    Raises:
      TypeError: neither a function nor a matrix of numbers.
      ValueError: a matrix of another size than the last axis of the influences.
    """
    if callable(coupling):
        return jnp.asarray(coupling(influence))
    matrix = _as_matrix(coupling)
    if not influence.ndim:
        raise ValueError(
            f"The coupling is a matrix of shape {matrix.shape}, but the influence is a scalar: a "
            "matrix couples the oscillators on the last axis. Pass phases of shape [n]."
        )
    n = influence.shape[-1]
    if matrix.shape != (n, n):
        raise ValueError(
            f"The coupling matrix has shape {matrix.shape}, but the influences have {n} "
            f"oscillators on their last axis, so it must be ({n}, {n}). For oscillators on several "
            "axes pass a function of the influences instead."
        )
    if _is_sparse(matrix):
        return _sparse_product(matrix, influence)
    return jnp.einsum("ij,...j->...i", matrix, influence)


def field_of(influence: Array, coupling: Coupling) -> Array:
    """`apply_coupling`, with a check that the field is real and as large as the influences.

    Raises:
      TypeError: as `apply_coupling`, or a field of complex numbers.
      ValueError: the field has another shape, or the matrix has the wrong size.
    """
    field = apply_coupling(coupling, influence)
    if field.shape != influence.shape:
        raise ValueError(
            f"The coupling turned influences of shape {influence.shape} into a field of shape "
            f"{field.shape}; it must keep the shape (the energy −Σ I ⊙ field needs both equal)."
        )
    if jnp.iscomplexobj(field):
        raise TypeError(
            f"The coupling returned a field of {field.dtype}; fields must be real. Write a complex "
            "coupling as two real ones, stacked along the leading axis of the influences."
        )
    return field


def _is_sparse(coupling: Any) -> bool:
    """Whether it is a sparse matrix, of JAX or of SciPy."""
    return hasattr(coupling, "todense")


def _as_matrix(coupling: Any) -> Any:
    """A coupling that is no function as an array or a BCOO."""
    if _is_sparse(coupling):
        from jax.experimental import sparse

        if isinstance(coupling, sparse.BCSR):
            return coupling.to_bcoo()
        if hasattr(coupling, "tocoo"):  # SciPy's
            return sparse.BCOO.from_scipy_sparse(coupling)
        return coupling
    try:
        return jnp.asarray(coupling)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The coupling is of type {type(coupling).__name__}; it must be a function of the "
            "influences, or a matrix: an array, a BCOO or BCSR, or a SciPy sparse matrix."
        ) from error


def _sparse_product(matrix: sparse.BCOO, influence: Array) -> Array:
    """Σ_j K_ij I_j on the last axis of `influence`, in the wider dtype of both."""
    from jax.experimental import sparse

    dtype = jnp.promote_types(matrix.dtype, influence.dtype)
    values = sparse.BCOO(
        (matrix.data.astype(dtype), matrix.indices),
        shape=matrix.shape,
        indices_sorted=matrix.indices_sorted,
        unique_indices=matrix.unique_indices,
    )
    systems = np.prod(influence.shape[:-1], dtype=int)  # reshape(-1, 0) would not know it
    columns = influence.astype(dtype).reshape(systems, influence.shape[-1]).T
    return (values @ columns).T.reshape(influence.shape)
