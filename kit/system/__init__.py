"""How does kit deal with the machine?

files.py    write_atomic, link_atomic, digest; check_id, file_name, id_of; cache_folder; run_lock; raise_all
run_folder.py  what the files of a run folder are called and say: fold_name, read_json, finished_json
contents.py name_contents: a name of what each file holds, for which only changed files are read
threads.py  ordered_map, read_ahead: work done ahead in threads; threads_for: how many read images
plain.py    plain, number: values as JSON holds them, without NaN
clock.py    process_started: what a time limit counts from
kernels.py  kernel: the decorator of compiled functions
edges.py    new_edges, mask_of_edges: where the value of a mask changes
objects.py  components, label_pairs: the objects of masks and label images
segments.py Segments: a label image and the class of each label
"""

from kit.system.contents import name_contents
from kit.system.files import (
    cache_folder,
    check_id,
    check_name,
    counted,
    digest,
    file_name,
    id_of,
    link_atomic,
    list_some,
    raise_all,
    run_lock,
    sync_folder,
    write_atomic,
)
from kit.system.threads import ordered_map, read_ahead, threads_for

__all__ = [
    "cache_folder",
    "check_id",
    "check_name",
    "counted",
    "digest",
    "file_name",
    "id_of",
    "link_atomic",
    "list_some",
    "name_contents",
    "ordered_map",
    "raise_all",
    "read_ahead",
    "run_lock",
    "sync_folder",
    "threads_for",
    "write_atomic",
]
