"""results.json as GitHub Classroom's reporter wants it: JSON in base64, on one line."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path


def convert(text: str) -> str:
    graded = json.loads(text)
    tests = [
        {"name": test["name"], "status": "pass" if test["status"] == "passed" else "fail",
         "score": test["score"], "message": test["output"], "test_code": "", "filename": "",
         "line_no": 0, "duration": 0}
        for test in graded["tests"]
    ]  # fmt: skip
    failed = not tests or any(test["status"] == "fail" for test in tests)
    most = round(sum(test["max_score"] for test in graded["tests"]), 2) or 100
    result = {
        "version": 1,
        "status": "fail" if failed else "pass",
        "max_score": most,
        "tests": tests,
    }
    return base64.b64encode(json.dumps(result).encode()).decode()


if __name__ == "__main__":
    print(convert(Path(sys.argv[1]).read_text(encoding="utf-8")))
