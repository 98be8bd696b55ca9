"""Cloth by name, from soft to stiff."""

from __future__ import annotations

from gdna.synthesize.garment import Fabric

FABRICS = {
    fabric.name: fabric
    for fabric in (
        Fabric(stretch=1500.0, shear=40.0, bend=2e-6, density=0.12, friction=0.25, name="silk"),
        Fabric(stretch=1800.0, shear=50.0, bend=4e-6, density=0.16, friction=0.3, name="viscose"),
        Fabric(stretch=1500.0, shear=60.0, bend=6e-6, density=0.18, friction=0.3, name="jersey"),
        Fabric(stretch=1200.0, shear=120.0, bend=4e-6, density=0.2, friction=0.5, name="elastane"),
        Fabric(stretch=2500.0, shear=150.0, bend=1e-5, density=0.16, friction=0.3, name="cotton"),
        Fabric(stretch=2500.0, shear=120.0, bend=8e-6, density=0.19, friction=0.3, name="linen"),
        Fabric(stretch=2000.0, shear=120.0, bend=3e-5, density=0.32, thickness=0.005, friction=0.4, name="fleece"),
        Fabric(stretch=2000.0, shear=120.0, bend=4e-5, density=0.35, thickness=0.0045, friction=0.4, name="wool"),
        Fabric(stretch=4000.0, shear=350.0, bend=3e-5, density=0.4, thickness=0.004, friction=0.4, name="denim"),
        Fabric(stretch=4000.0, shear=500.0, bend=8e-5, density=0.4, thickness=0.004, friction=0.4, name="canvas"),
    )
}
