"""The compiled core, checked to be the one that belongs to this source tree."""

from __future__ import annotations

import _ternzip

from ternzip._version import __version__

if _ternzip.__version__ != __version__:
    raise ImportError(
        f"ternzip {__version__} found the native module of version {_ternzip.__version__} "
        f"at {_ternzip.__file__}; reinstall with `pip install .`"
    )

core = _ternzip
