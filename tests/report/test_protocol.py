"""The protocol sheet: answers from the runs, and openly what no run can tell."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import yaml
from report_runs import CBAM, NONE, SHORT, failed, finished, right, tried

from fersweep.files import write_json
from fersweep.report import page, protocol, protocol_runs, write


@pytest.fixture
def sheet(tmp_path: Path) -> dict[str, str]:
    """The lines of each question of a sheet on four finished runs and a failed one of two epochs, by its title."""
    for options, seed in product((NONE, CBAM), (1, 2)):
        run = finished(tmp_path, (*SHORT, *options), seed, right(0.6, seed))
        result = json.loads((run / "result.json").read_text())
        environment = {"device": "H200", "processor": "x86_64", "platform": "Linux", "processes": 2, "threads": 1}
        record = {"digest": "a" * 16, "commit": "1" * 40, "diff": "code.diff", "command": "train.py -m seed=1,2 <b>"}
        more = {
            "train_n": 20_099,
            "training_flops": 2 * 10**15,
            "environment": environment | {"precision": "32-true", "torch": "2.9.0"},
            "code": [record],
            "twins": {"either": {"identical": 3, "near": 2}, "dropped": 0},
            "seconds": 1800.0,
        }
        write_json(run / "result.json", result | more)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["trainer"]["limit_batches"] = 3
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    tried(run, "jaffe", "JAFFE", 0.4)
    other = failed(tmp_path, (*SHORT, "attention=eca"), 1, RuntimeError("no"))
    pd.DataFrame({"epoch": [1, 2], "seconds": [60.0, 60.0]}).to_csv(other / "history.csv", index=False)
    report = write.contents(tmp_path)
    text = protocol.as_markdown(report.title, report.protocol)
    html = page.render(report)
    assert all(section.title in html for section in report.protocol)
    assert "<b>" not in text
    parts = [each.partition("** (") for each in text.split("\n**")[1:]]
    return {title: rest for title, _, rest in parts}


def test_the_runs_answer_what_they_can(sheet: dict[str, str]) -> None:
    for title, answers in {
        "FER2013, split study: parts": [
            "20,099 to train, 1,000 to validate, 1,000 to test; 7 classes: angry",
            "trainer.limit_batches=3 in all runs",
        ],
        "FER2013, split study: licence": ["Terms of use: published for a research challenge in 2013"],
        "FER2013, split study: preprocessing": [
            "dataset.image_size 48",
            "of training and validation images: flip_zoom",
        ],
        "FER2013, split study: images and people in several parts": [
            "5 of 1,000 test images have",
            "people are not known",
        ],
        "Selection": [
            "FER2013, split study was tested 4 times, once by each run",
            "fersweep test used JAFFE, test part: 1 more test.",
        ],
        "Validation score of each result": ["50.00 % on validation, 60.00 % on test"],
        "Hyperparameters": ["recipe.optimizer KerasAdam", "recipe.optimizer.lr 0.0001"],
        "Number of runs": ["5 runs: ", "4 done", "1 failed"],
        "Seeds": ["2 of each row, of 1, 2."],
        "Variation and tests": ["1 comparison between rows"],
        "Compute of these runs, with failed and pruned ones": [
            "4 finished runs: 2.0 h, 4.0 h of devices or processes, 30 min a run",
            "8.00 PFLOP",
            "1 other run (failed): 2 min in the epochs that 1 of them recorded",
        ],
        "Machines": ["H200 (x86_64, Linux), 2 processes of 1 thread, precision 32-true: 4 runs"],
        "Versions": ["torch 2.9.0"],
        "State of the code": [f"commit 1111111111, digest {'a' * 16}: 4 runs", "4 runs had changes since the commit"],
        "Commands": ["Command: train.py -m seed=1,2 &lt;b>"],
        "Trained weights": ["0 runs"],
    }.items():
        assert [answer for answer in answers if answer not in sheet[title]] == [], sheet[title]
    assert "mixup" not in sheet["Hyperparameters"]  # off


def test_what_no_run_can_tell_is_to_fill_in(sheet: dict[str, str]) -> None:
    assert "**Fill in**: Who or what chose the values" in sheet["Choice of hyperparameters"]
    last = list(sheet)[-1]
    assert last.startswith("No run can tell**")
    assert last.count("- **Fill in**: ") == len(protocol.FILL_IN)


def test_the_expected_best_is_the_mean_over_all_draws() -> None:
    values = [0.3, 0.1, 0.7]
    for n in (1, 2, 3):
        draws = list(product(values, repeat=n))
        assert protocol_runs.expected_best(values, n) == pytest.approx(sum(map(max, draws)) / len(draws))
        lowest = protocol_runs.expected_best(values, n, lower_is_better=True)
        assert lowest == pytest.approx(sum(map(min, draws)) / len(draws))
