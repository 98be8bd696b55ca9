"""Groups of keys by one name: data sets, and experiments. Free of torch and hydra, so that help is quick.

An experiment's keys that a verb does not have are left out there.
"""

from __future__ import annotations

from typing import Any

from gdna.apps.config import BodyKind, DataModule
from gdna.train.settings import fine_settings

_FINE_SETTINGS = fine_settings()
_FINE: dict[str, Any] = {
    "expname": "fine",
    "model": {
        "stage": "fine",
        "optim": {"lr": _FINE_SETTINGS.model.optim.lr, "lr_dis": _FINE_SETTINGS.model.optim.lr_dis},
        "deformer": {"max_steps": 10},
    },
    "datamodule": {"batch_size": _FINE_SETTINGS.datamodule.batch_size},
}
# written out where it is the default too: a better default must not change what is compared with
_ORIGINAL: dict[str, Any] = {
    "expname": "original",
    "model": {
        "scan_offsets": False,
        "lambda_reg": 1e-3,
        "lambda_bone_occ": 1.0,
        "lambda_bone_w": 10.0,
        "lambda_disp": 10.0,
        "lambda_skin": 0.0,
        "lambda_empty": 0.0,
        "nepochs_pretrain": 1,
        "lambda_gan": 1.0,
        "lambda_grad": 10.0,
        "common_outline": False,
        "random_people": 0.0,
        "norm_loss_3d": True,
        "optim": {"lr": 1e-3, "lr_dis": 2e-3, "decay": "none", "ema": 0.0},
        "network": {"multires": 4, "logit_scale": 1.0},
        "norm_network": {"multires": 4, "pose": "none", "base": "none"},
        "deformer": {"max_steps": 50, "soft_blend": 20.0, "weights_at": "canonical"},
    },
    "datamodule": {"batch_size": 16, "points_per_frame": 2000},
}

GROUPS = {
    "datamodule": {
        "open": "people made by gdna synthesize: a folder of them, or the pack",
        "thuman": "THuman2.0 as downloaded, with SMPL",
        "renderpeople": "RenderPeople, with SMPL",
        "3dpeople": "3DPeople, with SMPL",
        "files": "any meshes with body parameters beside them, with SMPL",
        "single_subject": "one person in many poses, with SMPL",
    },
    "experiments": {
        "fine": "the fine stage: normals and details, on a trained coarse model",
        "original": "the coarse stage as the original has it, to compare with",
        "original_fine": "the fine stage as the original has it, on what +experiments=original has trained",
    },
}
NODES: dict[str, dict[str, Any]] = {
    "datamodule": {
        "open": DataModule(),
        "thuman": DataModule(
            scans_path="data/THuman2.0_Release",
            params_path="data/THuman2.0_smpl",
            dataset_path="data/THuman2.0_processed",
            body=BodyKind.smpl,
        ),
        "renderpeople": DataModule(
            scans_path="data/RenderPeople",
            params_path="data/RenderPeople_smpl",
            dataset_path="data/RenderPeople_processed",
            body=BodyKind.smpl,
        ),
        "3dpeople": DataModule(
            scans_path="data/3DPeople",
            params_path="data/3DPeople_smpl",
            dataset_path="data/3DPeople_processed",
            body=BodyKind.smpl,
        ),
        "files": DataModule(scans_path="data/scans", dataset_path="data/scans_processed", body=BodyKind.smpl),
        "single_subject": DataModule(
            scans_path="data/single_subject",
            dataset_path="data/single_subject_processed",
            one_person="subject",
            body=BodyKind.smpl,
        ),
    },
    "experiments": {
        "fine": _FINE,
        "original": _ORIGINAL,
        "original_fine": {
            **_FINE,
            "expname": "original_fine",
            "starting_path": "outputs/original/checkpoints/last.safetensors",
            "model": {
                **_ORIGINAL["model"],
                "stage": "fine",
                "optim": {**_ORIGINAL["model"]["optim"], **_FINE["model"]["optim"]},
                "deformer": {**_ORIGINAL["model"]["deformer"], **_FINE["model"]["deformer"]},
            },
        },
    },
}
