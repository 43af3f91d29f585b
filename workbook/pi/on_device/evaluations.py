"""Evaluations of model files that the laptop sent. Standard library only, in the syntax of 3.7."""

import json

from workbook.pi.on_device import jobs


def evaluate(request):
    """Start the evaluation in `folder`, unless it is running or has just finished: {"state"}."""
    is_same = jobs.read_state("evaluate.json") == request
    if jobs.is_running("evaluate"):
        if not is_same:
            raise jobs.Problem(
                "it is evaluating other files: wait, or stop it with `workbook pi stop`"
            )
        return {"state": "running"}
    if is_same and jobs.read_state("evaluate.result").get("ok"):
        return {"state": "finished"}  # while no one was connected
    if jobs.is_running("run"):
        raise jobs.Problem(
            "it is running a notebook, which would disturb the times: wait, or stop it with "
            "`workbook pi stop`"
        )
    jobs.write_state("evaluate.json", request)
    job = json.dumps({"job": "evaluate", **request})
    jobs.launch("evaluate", [str(jobs.PYTHON), "-m", "workbook.pi.on_device.jobs", job])
    return {"state": "started"}
