"""The garbage collector of a process that serves: requests and batches leave next to nothing for it to find."""

import gc
from typing import Final

_NEW_OBJECTS: Final = 50_000
_YOUNG_COLLECTIONS: Final = 20
_MIDDLE_COLLECTIONS: Final = 100


def relax_garbage_collection() -> None:
    """Look for cycles less often, and never among what exists by now. Call once, when everything is imported.

    By default Python looks through all its objects over and over while a batch is decoded: a quarter of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_COLLECTIONS, _MIDDLE_COLLECTIONS)
    gc.enable()
