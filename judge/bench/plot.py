"""The figures as a picture, by gnuplot."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .. import tools
from ..errors import CannotTest
from .figures import FLOOR, OURS, Figure

GNUPLOT = tools.Tool("gnuplot", "gnuplot-nox", "draws the figures", "bench")
# One picture for each: what most programs do.
SHOWN = {"thread": "one thread", "pair": "a writer and a reader"}


def script(figures: list[Figure], into: Path, unit: str) -> str:
    panels = {pattern: [f for f in figures if f.pattern == pattern] for pattern in SHOWN}
    # The same colour in both panels, though the floor is in one only.
    channels = list(dict.fromkeys(f.channel for f in figures))
    lines = [
        "set terminal svg size 900,420 font 'sans,12' noenhanced background 'white'",
        f"set output '{into}'",
        f"set multiplot layout 1,{len(panels)}",
        "set logscale x 2; set xtics (16,64,256,1024,4096); set yrange [0:*]",
        "set key above; set border 3; set xtics nomirror; set ytics nomirror",
        "set xlabel 'bytes'",
        f"set ylabel '{unit.partition(',')[0]}'",
    ]
    for pattern, found in panels.items():
        curves, data = [], []
        for channel in dict.fromkeys(f.channel for f in found):
            style = "lw 3" if channel == OURS else "lw 1 dt 2" if channel == FLOOR else "lw 1"
            number = 1 + channels.index(channel)
            curves.append(f"'-' with linespoints lt {number} {style} title '{channel}'")
            data += [f"{f.size} {f.value}" for f in found if f.channel == channel] + ["e"]
        lines += [f"set title '{SHOWN[pattern]}'", "plot " + ", ".join(curves), *data]
    return "\n".join([*lines, "unset multiplot"]) + "\n"


def draw(figures: list[Figure], into: Path, unit: str) -> Path:
    tools.need([GNUPLOT])
    done = subprocess.run(["gnuplot"], input=script(figures, into, unit), text=True,
                          stderr=subprocess.PIPE)  # fmt: skip
    if done.returncode:
        raise CannotTest(f"gnuplot: {done.stderr.strip()}")
    return into
