"""`gdna scans datasheet`: tables and plots of who is in the pack."""

from __future__ import annotations

from gdna.apps.config_scans import ScansDatasheet
from gdna.apps.progress import track
from gdna.scans.datasheet import fill, tables
from gdna.scans.location import find_pack
from gdna.scans.pack import open_pack
from gdna.scans.plots import write_plots
from gdna.scans.statistics import statistics


def run(keys: ScansDatasheet) -> None:
    pack = open_pack(find_pack(keys.pack))
    found = statistics(pack, lambda entries: track(entries, len(pack), "datasheet", "scans"))
    fill(keys.out, tables(pack, found))
    plots = write_plots(found, keys.images)
    print("\n".join([f"tables: {keys.out}", *(f"plot: {path}" for path in plots)]))
