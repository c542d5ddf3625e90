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
    bits: int = 64  # of the program that makes the calls

    @classmethod
    def parse(cls, line: str) -> "TestInfo":
        name, stages, cpus, page, says, bits = line.split("\t")
        return cls(name, int(stages, 16), int(cpus), page, says, int(bits))

    def judges(self, stage_number: int) -> bool:
        return bool(self.stages >> stage_number & 1)
