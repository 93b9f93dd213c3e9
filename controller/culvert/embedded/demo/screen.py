"""Shows a demonstration: live on a terminal, else a line for each second and each event."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.status import Status
from rich.table import Table
from rich.text import Text

from culvert.embedded.demo.readings import Reading
from culvert.embedded.demo.scenario import Event
from culvert.embedded.demo.summary import summary
from culvert.embedded.demo.view import effect, live, plain_line

_PLAIN_EVERY_SECONDS = 1.0


class Screen:
    """An ``Audience`` on a console; use it in a ``with`` statement."""

    def __init__(self, console: Console, *, plain: bool) -> None:
        self._console = console
        self._plain = plain
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._status = Status("", console=console)
        self._next_line_seconds = 0.0
        self._findings: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clear()

    def doing(self, text: str) -> None:
        """What takes a while; on a terminal alone, until something else is shown."""
        if not self._plain:
            self._clear()
            self._status.update(f"{text} …")
            self._status.start()

    def said(self, text: str) -> None:
        """Something that is done."""
        if self._plain:
            self._console.print(f"[green]✓[/] {text}", highlight=False, soft_wrap=True)
            return
        line = Table.grid(padding=(0, 1))
        line.add_row(Text("✓", style="green"), text)
        self._console.print(line)

    def event(self, event: Event, *, over: bool) -> None:
        """A change that begins or is over; the live view shows it by itself."""
        if self._plain:
            mark = (
                "[green]✓[/]" if over and not event.failures else "→" if not over else "[red]✗[/]"
            )
            said = Text.assemble(": ", effect(event)) if over else Text()
            line = Text.assemble(Text.from_markup(mark), f" {event.text}", said)
            self._console.print(line, highlight=False, soft_wrap=True)

    def measured(self, reading: Reading, events: Sequence[Event], duration_seconds: float) -> None:
        """How things stand."""
        if not self._plain:
            self._status.stop()
            if not self._live.is_started:
                self._live.start()
            self._live.update(live(reading, events, duration_seconds), refresh=True)
            return
        for finding in reading.findings:
            if finding not in self._findings:
                line = Text.assemble(("! ", "yellow"), finding)
                self._console.print(line, highlight=False, soft_wrap=True)
        self._findings = frozenset(reading.findings)
        if reading.at_seconds >= self._next_line_seconds:
            self._next_line_seconds = reading.at_seconds + _PLAIN_EVERY_SECONDS
            self._console.print(plain_line(reading), highlight=False, soft_wrap=True)

    def ended(self, reading: Reading) -> None:
        """The summary."""
        self._clear()
        self._console.print(summary(reading))

    def _clear(self) -> None:
        self._status.stop()
        self._live.stop()
