"""What a cluster's time buys: devices, days and utilisation to tokens, and tokens back to days and cost.

A token costs 6 N + 12 L d S floating-point operations forward and backward: N weights that multiply (with the head, without the embedding), and attention of
L layers of width d over S tokens, counted whole whatever the window. This is the count by which the published utilisation is stated: 7B at 7.7K tokens/s on
an H100 is 42 % (report: 43 %). Source: Olmo 3 report; spec/05 s.3.
"""

from dataclasses import dataclass

from dolma.core.errors import ConfigError

DAY = 86_400
PEAK = {"A100": 312e12, "H100": 989.5e12, "H200": 989.5e12, "B200": 2250e12}  # dense bf16 operations a second, from the makers' data sheets


@dataclass(frozen=True)
class Shape:
    """A decoder's size as far as a token's cost goes: weights that multiply, layers, width."""

    weights: float
    layers: int
    width: int


SHAPES = {  # spec/05 s.1, column "non-emb + head"
    "30M": Shape(29.1e6, 4, 256),
    "60M": Shape(57.4e6, 8, 384),
    "100M": Shape(101.7e6, 12, 512),
    "190M": Shape(190.4e6, 12, 768),
    "370M": Shape(371.3e6, 16, 1024),
    "600M": Shape(548.0e6, 16, 1280),
    "760M": Shape(758.2e6, 16, 1536),
    "1B": Shape(1.279e9, 16, 2048),
    "3B": Shape(3.170e9, 16, 3328),
    "7B": Shape(6.888e9, 32, 4096),
    "32B": Shape(31.721e9, 64, 5120),
}


@dataclass(frozen=True)
class Budget:
    """Tokens, and what they take."""

    tokens: float
    days: float
    device_hours: float
    tokens_per_second: float  # of one device, while it trains
    cost: float


def flops(shape: Shape, sequence: int) -> float:
    """Floating-point operations of one trained token."""
    return 6 * shape.weights + 12 * shape.layers * shape.width * sequence


def rate(shape: Shape, *, sequence: int, device: str, utilisation: float) -> float:
    """Tokens a second that one device trains at a model-FLOPs utilisation in (0, 1]."""
    _positive(sequence=sequence, utilisation=utilisation)
    if device not in PEAK:
        raise ConfigError("budget: device", "its peak is not known", got=device, expected=", ".join(PEAK), mend="give tokens a second instead")
    if utilisation > 1:
        raise ConfigError("budget: utilisation", "a share of the peak", got=utilisation, expected="above 0, at most 1", mend="write 43 % as 0.43")
    return utilisation * PEAK[device] / flops(shape, sequence)


def buys(*, devices: int, days: float, per_second: float, uptime: float = 1.0, price: float = 0.0) -> Budget:
    """Tokens that `devices` train in `days`.

    Args:
        per_second: tokens of one device, measured or of `rate`.
        uptime: share of the days in which it trains; the published 32B run's 44.5 days of pretraining were .78 (5.5T tokens at 2.0K a device).
        price: of a device hour.
    """
    _positive(devices=devices, days=days, per_second=per_second, uptime=uptime)
    hours = devices * days * 24
    return Budget(devices * days * DAY * uptime * per_second, days, hours, per_second, hours * price)


def takes(tokens: float, *, devices: int, per_second: float, uptime: float = 1.0, price: float = 0.0) -> Budget:
    """Days and cost of `tokens`: the inverse of `buys`."""
    _positive(tokens=tokens, devices=devices, per_second=per_second, uptime=uptime)
    return buys(devices=devices, days=tokens / (devices * per_second * uptime * DAY), per_second=per_second, uptime=uptime, price=price)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ConfigError(f"budget: {name}", "must be above 0", got=value, expected="a finite number above 0", mend="mend it")
