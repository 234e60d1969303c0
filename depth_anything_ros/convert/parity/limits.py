"""How far a device may be from the CPU in f32."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """
    Largest errors allowed; None where an error is not judged.

    ``max_error`` and ``mean_error`` are in standard deviations of the reference.
    """

    max_error: float | None = None
    mean_error: float | None = None
    abs_rel: float | None = None


# A mean error of a tenth is where the runtime refuses a device too; AbsRel 0.03 is the most that
# quantization may cost one image. Measured for Depth-Anything-V2-Small on the card: 0.005 and
# 0.0012 in bf16, 0.021 and 0.010 for an INT8 model; wrong arithmetic is far above both.
DEVICE_LIMITS = Limits(mean_error=0.1, abs_rel=0.03)
