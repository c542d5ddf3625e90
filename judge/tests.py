"""What a test is to the host: a name, the stages it judges, and what it says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TestInfo:
    name: str
    stages: int
    cpus: int
    page: str
    says: str
    needs: tuple[str, ...] = ()  # what not every kernel has; words of needs.NEEDS

    @classmethod
    def parse(cls, line: str) -> "TestInfo":
        name, stages, cpus, page, says, needs = line.split("\t")
        return cls(name, int(stages, 16), int(cpus), page, says, tuple(needs.split()))

    def judges(self, stage_number: int) -> bool:
        return bool(self.stages >> stage_number & 1)
