"""Weights files, compared by what is in them: HDF5 also writes down times."""

from pathlib import Path

import h5py
import numpy as np


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every data set of an HDF5 file, by its path in the file."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    assert found
    return found


def assert_same(first: Path, second: Path) -> None:
    """Asserts that two files hold the same values under the same names, to the last bit."""
    one, other = arrays(first), arrays(second)
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
