"""Rounds of one case: the variants take turns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from tests.bench.cases import Case
from tests.bench.samples import turns
from tests.bench.scene import Route, Scene
from tests.bench.wrk import LoadError

_ATTEMPTS = 3


class Samples:
    """Values by variant and metric, each in order of rounds."""

    def __init__(self) -> None:
        self._values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, variant: str, metric: str, value: float) -> None:
        """Note the next round's value."""
        self._values[variant, metric].append(value)

    def of(self, variant: str, metric: str) -> list[float]:
        """The values, one a round; none when this was not measured."""
        return self._values.get((variant, metric), [])


def measure(
    scene: Scene,
    case: Case,
    rounds: int,
    *,
    on_progress: Callable[[], None] = lambda: None,
) -> Samples:
    """Measure one case for every variant, ``rounds`` times.

    Raises:
        LoadError: a load failed several times running.
    """
    samples = Samples()
    for number in range(rounds):
        for variant in turns(scene.variants, number):
            try:
                values = _attempt(case, scene.routes[variant, case.server])
            except LoadError as error:
                raise LoadError(f"{case.name}, variant {variant}: {error}") from error
            for metric, value in values.items():
                samples.add(variant, metric, value)
            on_progress()
    return samples


def _attempt(case: Case, route: Route) -> dict[str, float]:
    for _ in range(_ATTEMPTS - 1):
        try:
            return dict(case.measure(route))
        except LoadError:
            continue
    return dict(case.measure(route))
