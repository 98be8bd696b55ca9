"""Which numbers a table of models shows, in which order and how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`larger` is better, smaller where False, neither where None."""

    key: str
    title: str
    section: str
    larger: bool | None
    digits: int = 2


TITLES = {
    "floor": "floor (training scans)",
    "redrawn": "trained people by their learned codes",
    "near_poses": "predicted normals in near poses",
    "raw": "raw geometry",
    "normals": "predicted normals",
}


def _people() -> list[Row]:
    rows = []
    for name, title in TITLES.items():
        better = None if name == "floor" else True
        worse = None if name == "floor" else False
        rows += [
            Row(f"frechet_{name}", f"Frechet distance, {title}", PEOPLE, worse),
            Row(f"kernel_{name}", f"kernel distance, {title}", PEOPLE, worse, 5),
            Row(f"precision_{name}", f"precision, {title}", PEOPLE, better),
            Row(f"recall_{name}", f"recall, {title}", PEOPLE, better),
        ]
    return rows


def _scans(suffix: str, section: str) -> list[Row]:
    rows = (
        ("iou", "IoU, uniform points", True, 3),
        ("iou_near", "IoU, near the surface", True, 3),
        ("chamfer_mm", "Chamfer distance, mm", False, 2),
        ("pred_to_scan_mm", "model to scan, mm", False, 2),
        ("scan_to_pred_mm", "scan to model, mm", False, 2),
        ("normal_consistency", "normal consistency", True, 3),
        ("f_score_1cm", "F-score at 1 cm", True, 3),
        ("normal_error_raw_deg", "normal error, raw geometry, degrees", False, 1),
        ("normal_error_deg", "normal error, predicted, degrees", False, 1),
        ("silhouette_iou", "silhouette IoU", True, 3),
        ("skin_misplaced_weight", "skinning weight on wrong bones", False, 3),
        ("skin_vertex_error_mm", "body vertices misplaced by learned weights, mm", False, 1),
    )
    return [Row(f"{key}_{suffix}", title, section, larger, digits) for key, title, larger, digits in rows]


PEOPLE = "Generated people against held-out people"
VARIETY = "Variety and what the codes change"
HEALTH = "Health of random people"
MOTION = "Predicted normals in motion"
ROWS: tuple[Row, ...] = (
    *_people(),
    Row("people_drawn_again", "drawn again because torn, before they were compared", PEOPLE, None, 0),
    *_scans("train", "Trained scans"),
    *_scans("unseen_pose", "Trained people in new poses"),
    *_scans("held_out", "People never seen"),
    Row("diversity_raw", "feature distance between people, raw geometry", VARIETY, None),
    Row("diversity_normals", "feature distance between people, predicted normals", VARIETY, None),
    Row("diversity_scans", "feature distance between training scans", VARIETY, None),
    Row("surface_diversity_mm", "surface distance between drawn people, mm", VARIETY, None, 1),
    Row("surface_diversity_trained_mm", "surface distance between trained people, mm", VARIETY, None, 1),
    Row("z_detail_normals_deg", "new details change normals by, degrees", VARIETY, None, 1),
    Row("z_detail_silhouette_px", "new details move the outline by, pixels", VARIETY, False, 3),
    Row("z_detail_silhouette_iou", "silhouette IoU under new details", VARIETY, True, 4),
    Row("z_shape_normals_deg", "a new shape code changes normals by, degrees", VARIETY, None, 1),
    Row("z_shape_silhouette_px", "a new shape code moves the outline by, pixels", VARIETY, None, 3),
    Row("folds_by_betas", "folds replaced by a new body", VARIETY, False, 3),
    Row("folds_by_person", "folds replaced by a new person", VARIETY, None, 3),
    Row("samples", "people looked at", HEALTH, None, 0),
    Row("broken", "as generated: broken", HEALTH, False, 0),
    Row("with_floaters", "as generated: with floating parts", HEALTH, False, 0),
    Row("with_missing_bones", "as generated: with missing limbs", HEALTH, False, 0),
    Row("with_many_handles", "as generated: torn (many handles)", HEALTH, False, 0),
    Row("handles", "as generated: handles, mean", HEALTH, False, 2),
    Row("drawn_again", "torn people who made room", HEALTH, False, 0),
    Row("field_with_floaters", "raw field: with floating parts", HEALTH, False, 0),
    Row("field_with_large_floaters", "raw field: with floating parts above 2 cm³", HEALTH, False, 0),
    Row("field_floater_cm3", "raw field: what floats in the middle person, cm³", HEALTH, False, 1),
    Row("field_with_missing_bones", "raw field: with missing limbs", HEALTH, False, 0),
    Row("field_with_many_handles", "raw field: torn", HEALTH, False, 0),
    Row("field_handles", "raw field: handles, mean", HEALTH, False, 2),
    Row("motion_pose_deg", "change from the canonical pose, degrees", MOTION, None, 2),
    Row("motion_change_deg", "change a frame, degrees", MOTION, None, 3),
    Row("motion_flicker_deg", "flicker a frame, degrees", MOTION, False, 3),
    Row("motion_turn_deg", "turn of the surface itself a frame, degrees", MOTION, None, 2),
)
