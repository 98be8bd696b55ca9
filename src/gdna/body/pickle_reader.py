"""Reading pickled arrays without running what the pickle says.

Body models and motions are distributed as Python pickles, some written by Python 2 with chumpy (an array library that
no longer installs) and scipy. This reader knows numpy arrays, scipy's sparse matrices and chumpy's leaf arrays, and
refuses everything else: no function or class named in the file is ever called, only the ones below.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gdna.errors import GdnaError

_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_FROM_BUFFER = np.zeros(1).__reduce_ex__(5)[0]
_SPARSE_FORMATS = ("csc", "csr", "coo")


class _Stored:
    """Stands in for an instance of a foreign class and keeps its pickled state."""

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _ChumpyArray(_Stored):
    """chumpy.ch.Ch: the array is in the state."""

    def value(self) -> np.ndarray:
        return np.asarray(self.state["x"])


class _ChumpySelect(_Stored):
    """chumpy.reordering.Select: entries of another array, as MANO and some SMPL files store their shape basis."""

    def value(self) -> np.ndarray:
        source = _plain(self.state["a"]).ravel()[np.asarray(self.state["idxs"])]
        return source.reshape(self.state.get("preferred_shape", source.shape))


class _Sparse(_Stored):
    """A scipy sparse matrix; its format is told by the arrays it stores."""

    def value(self) -> np.ndarray:
        from scipy import sparse

        state = self.state
        shape = tuple(state["_shape"] if "_shape" in state else state["shape"])
        if "indptr" not in state:
            coordinates = state["coords"] if "coords" in state else (state["row"], state["col"])
            return sparse.coo_array((state["data"], tuple(coordinates)), shape=shape).toarray()
        kind = sparse.csc_array if self.is_csc else sparse.csr_array
        return kind((state["data"], state["indices"], state["indptr"]), shape=shape).toarray()

    is_csc = True


class _SparseRows(_Sparse):
    is_csc = False


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Python 3 writes bytes as latin1 text at old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in encoding {encoding}")
    return text.encode("latin1")


def _reconstruct_object(kind: type, base: type, state: Any) -> Any:
    """What `copyreg._reconstructor` does, for the stand-ins only."""
    if not (isinstance(kind, type) and issubclass(kind, _Stored) and base is object):
        raise pickle.UnpicklingError(f"an instance of {kind}")
    return kind()


def _known(module: str, name: str) -> Any:
    """The object a global of the file stands for; none where it is refused."""
    package = module.split(".")[0]
    if package == "numpy":
        named = {"_reconstruct": _RECONSTRUCT, "scalar": _SCALAR, "_frombuffer": _FROM_BUFFER}
        return {**named, "ndarray": np.ndarray, "dtype": np.dtype}.get(name)
    if module.startswith("scipy.sparse"):
        formats = {f"{f}_{kind}": f for f in _SPARSE_FORMATS for kind in ("matrix", "array")}
        return None if name not in formats else _SparseRows if formats[name] == "csr" else _Sparse
    if package == "chumpy":
        return {"Ch": _ChumpyArray, "Select": _ChumpySelect}.get(name)
    exact = {
        ("_codecs", "encode"): _encode,
        ("builtins", "object"): object,
        ("copyreg", "_reconstructor"): _reconstruct_object,
    }
    return exact.get((module, name))


class ArrayUnpickler(pickle.Unpickler):
    """Resolves names of arrays only; whoever reads more overrides `find_class` and gives its own stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        renamed = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        known = _known(renamed, name)
        if known is None:
            raise GdnaError(f"refused to load {module}.{name}")
        return known


def _plain(value: Any) -> Any:
    """Stand-ins become arrays, containers are searched."""
    if isinstance(value, (_ChumpyArray, _ChumpySelect, _Sparse)):
        return value.value()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value


def read_pickle(path: Path | str) -> Any:
    """Plain Python values and dense numpy arrays from a pickle file.

    Raises `GdnaError` where the file is missing, is not a pickle, or names a class or function that is not an array's.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _plain(ArrayUnpickler(file, encoding="latin1").load())
    except OSError as error:
        raise GdnaError(f"{path}: cannot be read ({error.strerror}); expected a pickle file") from error
    except GdnaError as error:
        raise GdnaError(
            f"{path}: {error}; only numpy, scipy.sparse and chumpy arrays are read; if you trust it, save it as .npz"
        ) from error
    except Exception as error:  # a broken pickle can raise anything
        raise GdnaError(f"{path}: not a readable pickle of arrays ({type(error).__name__}: {error})") from error


def read_array_file(path: Path | str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named arrays of an .npz or of a pickled dict (any other suffix), dense; object arrays in an .npz are pickles
    and read like them.

    Raises `GdnaError` where the file cannot be read or lacks a name.
    """
    path = Path(path)
    if not path.is_file():
        raise GdnaError(f"{path}: not found; expected a .pkl or .npz file with {', '.join(names)}")
    values = _read_npz(path, names) if path.suffix.lower() == ".npz" else read_pickle(path)
    missing = [n for n in names if n not in values] if isinstance(values, dict) else list(names)
    if missing:
        raise GdnaError(f"{path}: no {', '.join(missing)}; expected {', '.join(names)}")
    return {name: np.asarray(values[name]) for name in names}


def _read_npz(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                if f"{name}.npy" in archive.namelist():
                    values[name] = _read_npy(io.BytesIO(archive.read(f"{name}.npy")))
    except GdnaError as error:
        raise GdnaError(f"{path}: {error}; only arrays are read") from error
    except Exception as error:  # a broken file can raise anything
        raise GdnaError(f"{path}: not a readable npz of arrays ({type(error).__name__}: {error})") from error
    return values


def _read_npy(content: io.BytesIO) -> Any:
    """One array; where it is a pickled object (numpy stores sparse matrices so), the object."""
    version = np.lib.format.read_magic(content)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = header(content)
    if not dtype.hasobject:
        content.seek(0)
        return np.lib.format.read_array(content, allow_pickle=False)
    array = ArrayUnpickler(content, encoding="latin1").load()
    return _plain(array.item()) if array.ndim == 0 else np.array(_plain(array.tolist()))
