"""What is wrong with a Device, as far as no schema can say it (spec 04 §1, quirk Q22)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from kubeedge.cloudcore.devicecontroller.device import Device, ModelProperty

READ_ONLY = "ReadOnly"
_INTEGER_LIMIT = 1 << 63


class Problem(NamedTuple):
    """One thing that keeps a device from working; reason is a word for programs, message a sentence for people."""

    reason: str
    message: str


def problems(device: Device, model: Sequence[ModelProperty] | None) -> list[Problem]:
    """Return what is wrong with device; model has the properties of its model, None when there is no such model."""
    found = [
        Problem("DuplicateProperty", f"property {name!r} stands in spec.properties more than once")
        for name in _repeated([each.name for each in device.properties])
    ]
    if model is None:
        what = f"there is no DeviceModel {device.model!r} in namespace {device.namespace!r}"
        return [*found, Problem("ModelNotFound", what if device.model else "spec.deviceModelRef names no model")]
    known = {each.name: each for each in model}
    for each in device.properties:
        property_ = known.get(each.name)
        if property_ is None:
            what = f"property {each.name!r} is not in DeviceModel {device.model!r}"
            found.append(Problem("UnknownProperty", what))
        elif each.desired is not None and each.desired.value:
            wrong = _wrong(each.desired.value, property_)
            if wrong:
                what = f"desired value {each.desired.value!r} of property {each.name!r} {wrong}"
                found.append(Problem("InvalidDesiredValue", what))
    return found


def _repeated(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _wrong(value: str, model: ModelProperty) -> str:
    """Return what is wrong with a desired value, or nothing."""
    if model.access_mode == READ_ONLY:
        return "cannot be set: the model says ReadOnly"
    number: float | int
    if model.type == "INT":
        try:
            number = int(value)
        except ValueError:
            return "is no INT"
        if not -_INTEGER_LIMIT <= number < _INTEGER_LIMIT:
            return "does not fit into an INT of 64 bits"
    elif model.type in ("FLOAT", "DOUBLE"):
        try:
            number = float(value)
        except ValueError:
            return f"is no {model.type}"
        if not math.isfinite(number):
            return f"is no finite {model.type}"
    elif model.type == "BOOLEAN":
        return "" if value in ("true", "false") else "is neither true nor false"
    else:
        return ""
    minimum, maximum = _limit(model.minimum), _limit(model.maximum)
    if minimum is not None and number < minimum:
        return f"is below the minimum {model.minimum}"
    if maximum is not None and number > maximum:
        return f"is above the maximum {model.maximum}"
    return ""


def _limit(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        # The model's own mistake; the value cannot be held against it.
        return None
