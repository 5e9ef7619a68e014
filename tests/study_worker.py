"""A worker on a study whose runs are those of `fake_fit.py`, as a program: its status is that of `bootlight study`."""

import sys
from pathlib import Path

from bootlight.studies import worker
from bootlight.studies.begin import write_record
from bootlight.studies.job import jobs_of
from bootlight.studies.spec import read_spec

FAKE = str(Path(__file__).with_name("fake_fit.py"))


def main(file: str) -> int:
    worker.bootlight_command = lambda verb, arguments: [sys.executable, FAKE, verb, *arguments]
    worker.WAIT_SECONDS = 0.1
    study = read_spec(Path(file))
    write_record(study, [], ["bootlight", "study"])
    found = worker.Worker(study, jobs_of(study))
    status = found.work()
    print(found.summary())
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
