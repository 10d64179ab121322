"""The report of a chaos run crosses from a stack's process to the one that adds up."""

import json
from collections import Counter

from bench.chaos.report import Report


def test_a_report_is_the_same_after_json():
    report = Report(Counter(chain=2), Counter({"worker killed": 3}), quiet=1, problems=["one"], recoveries=[1.5])
    assert Report.from_json(json.loads(json.dumps(report.as_json()))) == report


def test_reports_add_up():
    total = Report()
    for _ in range(2):
        total.add(Report(Counter(chain=2), Counter({"worker killed": 3}), stuck=1, recoveries=[1.0]))
    assert (total.jobs["chain"], total.faults["worker killed"], total.stuck, total.recoveries) == (4, 6, 2, [1.0, 1.0])
    assert not total.clean
