"""The stages of the course, in their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Stage:
    number: int
    name: str
    folder: str
    module: str
    title: str
    file: str = ""  # the source's name without .c, where it is not the module's
    headers: tuple[str, ...] = ()  # of the stage alone, beside its source
    tree: Path = TREE  # what its sources lie below: the repository, or the student's work/

    @property
    def source(self) -> str:
        return f"{self.folder}/{self.file or self.module}.c"

    @property
    def sources(self) -> tuple[str, ...]:
        """All that the student writes for this stage."""
        return (self.source, *(f"{self.folder}/{name}" for name in self.headers))

    @property
    def own(self) -> bool:
        """True if this is the student's, false if it is the reference."""
        return self.tree != TREE

    @property
    def path(self) -> Path:
        return self.tree / self.source

    @property
    def shown(self) -> str:
        """The source as the person at the keyboard knows it: seen from where `make` is typed."""
        return shown(self.path)

    @property
    def page(self) -> str:
        return f"docs/labs/{self.name}.md"

    @property
    def before(self) -> "Stage | None":
        return STAGES[self.number - 2] if self.number > 1 else None


STAGES = (
    Stage(1, "lab1", "lab1_basic", "kmsgpipe_basic", "Hello kmsgpipe"),
    Stage(2, "lab2", "lab2_buffered", "kmsgpipe_buffered", "Persistent echo"),
    Stage(3, "lab3", "lab3_wait", "kmsgpipe_wait", "Wait queues and blocking I/O"),
    Stage(4, "lab4", "lab4_ioctl", "kmsgpipe_ioctl", "ioctl interface"),
    Stage(5, "lab5", "lab5_workqueue", "kmsgpipe_workqueue", "Workqueue cleanup"),
    Stage(6, "lab6", "lab6_sysfs", "kmsgpipe_sysfs", "sysfs"),
    Stage(7, "capstone", "capstone", "kmsgpipe", "All labs in one driver",
          file="kmsgpipe_final", headers=("kmsgpipe_trace.h",)),
)

def shown(path: Path) -> str:
    return str(path.relative_to(TREE) if path.is_relative_to(TREE) else path)


BY_NAME = {stage.name: stage for stage in STAGES}
