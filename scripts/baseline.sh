#!/usr/bin/env bash
# The method as the original has it, trained and measured on the scans that the shipped model was trained on. Run it in a
# folder of its own, where it leaves data/ and outputs/; what is there already is not done again. By environment:
# GDNA (the command), DEVICES, WORKERS, SHORTER (keys of a shorter training), EVALUATE (keys of a shorter evaluation).
set -euo pipefail
read -ra gdna <<< "${GDNA:-gdna}"
read -ra shorter <<< "${SHORTER:-}"
read -ra evaluate <<< "${EVALUATE:-}"
devices=${DEVICES:-1} workers=${WORKERS:-8}

mkdir -p data
[ -f data/train.txt ] || "${PYTHON:-python}" - << 'PYTHON'
from pathlib import Path

import gdna
from gdna.data.people import person_of
from gdna.model.checkpoint import load_extra
from gdna.scans.location import find_pack
from gdna.scans.pack import open_pack

trained = load_extra(Path(gdna.__file__).parent / "model/released/gdna-open.safetensors")["names"]
people, pack = {person_of(name) for name in trained}, open_pack(find_pack())
lists = {
    "held_out": [e.name for e in pack.people(held_out=True)],
    "poses": [e.name for e in pack.entries if e.name not in trained and person_of(e.name) in people],
    "train": trained,
}
for name, names in lists.items():
    Path("data", f"{name}.txt").write_text("\n".join(names) + "\n")
PYTHON

for kind in train held_out poses; do
    "${gdna[@]}" preprocess datamodule=open datamodule.split=all datamodule.poses=all datamodule.data_list="data/$kind.txt" \
        datamodule.dataset_path="data/$kind" workers="$workers"
done

# The original has one code a scan, and none a person: names without _pose are names of other people.
if [ ! -d data/alone ]; then
    cp -al data/train data/alone
    for scan in data/alone/*_pose*; do mv "$scan" "${scan/_pose/p}"; done
fi
alone=(datamodule=open datamodule.dataset_path=data/alone)
train=("${alone[@]}" "trainer.devices=$devices" trainer.check_val_every_n_epoch=0 "${shorter[@]}")

"${gdna[@]}" train +experiments=original "${train[@]}"
for ((agent = 0; agent < devices; agent++)); do
    CUDA_VISIBLE_DEVICES=$agent "${gdna[@]}" precompute expname=original "${alone[@]}" agent_tot="$devices" agent_id="$agent" &
    agents[agent]=$!
done
for agent in "${agents[@]}"; do wait "$agent"; done
"${gdna[@]}" train +experiments=original_fine "${train[@]}"

# Everybody's first scan, so that the same people are compared as with a model that knows who is in several.
if [ ! -d data/first ]; then
    mkdir data/first
    cp data/train/body.safetensors data/first/
    for scan in data/train/*/; do
        name=$(basename "$scan")
        [[ $name == *_pose* ]] || cp -al "data/train/$name" "data/first/$name"
    done
fi
"${gdna[@]}" evaluate expname=original_fine datamodule=open datamodule.dataset_path=data/first held_out=data/held_out poses=data/poses \
    held_out_scans=data/open_scans poses_scans=data/open_scans samples=500 mesh_resolution=384 health_resolution=256 devices="$((2 * devices))" "${evaluate[@]}"
