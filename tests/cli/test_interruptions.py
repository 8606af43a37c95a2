"""Runs that are interrupted, killed, out of disk space, or concurrent lose no finished trial and can be resumed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.sample_project import PROMPT, case
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

LIMIT_S = 240.0


@contextmanager
def started(project: SampleProject, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command in its own process; it is terminated afterwards in any case."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flowai", *arguments],
        cwd=project.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a condition that another process fulfils."""
    until_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < until_s, "it never came to that"
        time.sleep(0.02)


def lines_until(process: subprocess.Popen[str], last: str) -> Iterator[str]:
    """Read lines of the process's error output up to a line that must come."""
    assert process.stderr is not None
    for line in process.stderr:
        yield line
        if line == last:
            return
    raise AssertionError(f"the process ended without {last!r}")


def log_lines(project: SampleProject, run_id: str = "0001") -> list[dict[str, Any]]:
    file = project.root / ".flowai" / "runs" / run_id / "run.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def trials_in(project: SampleProject) -> int:
    return sum(line["type"] == "trial" for line in log_lines(project))


def undisturbed(report: dict[str, Any]) -> dict[str, Any]:
    """Remove times, the call or cache that an answer came from, and what depends on earlier runs."""
    times = {"elapsed_s", "started_at", "concurrency_achieved", "run_id", "changes", "earlier"}
    kept = {key: value for key, value in report.items() if key not in times}
    of_trial = {"latency_ms", "ttft_ms", "call_id"}
    kept["trials"] = [{k: v for k, v in trial.items() if k not in of_trial} for trial in report["trials"]]
    for totals in (kept["totals"], *(group["totals"] for group in kept["groups"])):
        del totals["latency"], totals["ttft"]
    return kept


def half_then_wait(seen: list[str], answered: int) -> Callable[[Asked], Reply]:
    """Answer the first calls; let the others wait."""

    def answer(asked: Asked) -> Reply:
        seen.append(asked.body["messages"][-1]["content"])
        return Reply() if len(seen) <= answered else Reply(delay_s=600.0)

    return answer


def test_kill_9_and_resume_give_the_report_of_an_undisturbed_run(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(*(case(f"c{number}", want="bye" if number % 3 else "hello") for number in range(12)))
    provider.answerer = half_then_wait([], answered=5)
    with started(project, "eval", "--no-cache", "-j", "2") as process:
        wait_until(lambda: trials_in(project) == 5)
        process.send_signal(signal.SIGKILL)
        process.wait()
    provider.answerer = None
    count = provider.request_count
    assert flowai("eval", "--no-cache", "--resume", "-j", "2").code == 1
    assert provider.request_count - count == 7, "what was finished was not asked again"
    resumed = project.report("0001")
    assert flowai("eval", "--no-cache", "-j", "2").code == 1
    assert undisturbed(resumed) == undisturbed(project.report("0002"))


def test_ctrl_c_keeps_results_and_says_how_to_continue(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.answerer = half_then_wait([], answered=1)
    with started(project, "eval", "prompts/echo_v1", "-j", "1", start_new_session=True) as process:
        wait_until(lambda: trials_in(project) == 1)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "interrupted; run 0001 keeps 1 finished trial" in err
    assert "continue with the same command and --resume" in err
    assert "Traceback" not in err
    provider.answerer = None
    assert flowai("eval", "prompts/echo_v1", "--resume").code == 0
    done = flowai("eval", "prompts/echo_v1", "--resume")
    assert done.code == 5
    assert ("run 0001 is finished" in done.err) is True


def test_another_plan_does_not_resume(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    provider.answerer = half_then_wait([], answered=1)
    with started(project, "eval", "-j", "1") as process:
        wait_until(lambda: trials_in(project) == 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    provider.answerer = None
    project.write("prompts/echo_v1.prompt", PROMPT.replace("Repeat", "Say"))
    ran = flowai("eval", "--resume")
    assert ran.code == 5
    assert ("no earlier run of the same plan" in ran.err) is True


def test_a_full_disk_is_one_error_and_loses_nothing_written(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(*(case(f"c{number}") for number in range(40)))
    provider.default = Reply(text="hello " * 200)

    def limited() -> None:
        # the kernel refuses to let any file grow beyond this, as a full disk would
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    with started(project, "eval", "--no-cache", "-j", "2", preexec_fn=limited) as process:
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4, err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "run.jsonl: cannot write" in errors[0]
    assert "Traceback" not in out + err
    kept = trials_in(project)
    assert kept > 5
    assert flowai("eval", "--no-cache", "--resume").code == 0
    assert provider.request_count < 40 + kept


def test_two_runs_at_once_do_not_conflict(flowai: Flowai, project: SampleProject) -> None:
    project.cases(*(case(f"c{number}") for number in range(10)))
    with started(project, "eval") as process:
        ran = flowai("eval")
        process.communicate(timeout=LIMIT_S)
    assert ran.code == 0
    assert process.returncode == 0
    assert {path.name for path in (project.root / "reports").iterdir()} == {"0001", "0002"}


def test_a_run_in_use_by_another_process_is_not_resumed(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.answerer = half_then_wait([], answered=1)
    with started(project, "eval", "-j", "1"):
        wait_until(lambda: trials_in(project) == 1)
        ran = flowai("eval", "--resume")
    assert ran.code == 4
    assert ("run 0001 is in use by another process" in ran.err) is True


def test_watch_runs_again_when_a_prompt_is_saved(project: SampleProject) -> None:
    with started(project, "eval", "--watch", start_new_session=True) as process:
        shown: list[str] = []
        for run_id in ("0001", "0002"):  # a report is written before its result is shown
            shown += lines_until(process, "watching prompts/, evals/ and datasets/; Ctrl-C stops\n")
            assert (project.root / "reports" / run_id / "junit.xml").exists()
            if run_id == "0001":
                project.write("prompts/echo_v1.prompt", PROMPT.replace("Repeat", "Say"))
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert out.count("GATE MET") == 2
    assert "Traceback" not in "".join([*shown, err])


def test_a_closed_pipe_is_no_error(project: SampleProject) -> None:
    done = subprocess.run(  # noqa: S602 - the pipe is what is tested; nothing in it comes from outside
        f"{sys.executable} -m flowai eval --json | head -c 10",
        shell=True,
        cwd=project.root,
        capture_output=True,
        check=True,
    )
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_a_question_that_is_interrupted_is_logged_as_cancelled(
    project: SampleProject, provider: ScriptedProvider, flowai: Flowai
) -> None:
    provider.default = Reply(fault="silent")
    with started(project, "ask", "chat", "--var", "text=x", start_new_session=True) as process:
        wait_until(lambda: provider.request_count == 1)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert err == "error: interrupted before the answer was complete\n"
    (call,) = json.loads(flowai("calls", "--json").out)["calls"]
    assert (call["origin"], call["error_class"]) == ("ask", "Cancelled")


def test_a_question_whose_reader_is_gone_is_no_error(project: SampleProject, provider: ScriptedProvider) -> None:
    provider.default = Reply(text="a word " * 50, chunk_delay_s=0.01)
    done = subprocess.run(
        ["/bin/bash", "-c", f"{sys.executable} -m flowai ask chat --var text=x | head -c 6; echo ${{PIPESTATUS[0]}}"],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "a word0\n"
    assert done.stderr == ""
