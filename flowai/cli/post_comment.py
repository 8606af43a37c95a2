"""`python -m flowai.cli.post_comment FILE`: write a run's comment on the pull or merge request of the CI job.

The job's earlier comment, found by its first line, is changed instead. Nothing here changes the job's result: without a
token or the right to comment, as in pull requests from forks, one line says so.
Source: GitHub, REST API, issue comments; GitLab, Notes API.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TOKEN_VARIABLE = "FLOWAI_COMMENT_TOKEN"  # noqa: S105 - a variable's name
TIMEOUT_S = 20.0
MAX_PAGES = 50
PAGE_SIZE = 100
_MAX_ANSWER_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class CommentThread:
    """The comments of one pull or merge request."""

    url: str
    """Address that lists comments, and that a new one is posted to."""
    comment_url: str
    """Address of one comment, before its id."""
    headers: Mapping[str, str]
    update_method: str


def thread_of(environ: Mapping[str, str]) -> CommentThread | str:
    """Return the comments that belong to the CI job, or why there are none."""
    token = environ.get(TOKEN_VARIABLE)
    if not token:
        return f"{TOKEN_VARIABLE} is not set"
    if environ.get("GITLAB_CI"):
        return _gitlab_thread(environ, token)
    return _github_thread(environ, token)


def post_comment(text: str, thread: CommentThread) -> str:
    """Change the job's earlier comment, or post a new one; return what was done.

    Args:
        text: the comment; its first line identifies it.
        thread: where it belongs.

    Raises:
        OSError: the server refused, or did not answer.
        ValueError: its answer is no JSON.
    """
    marker = text.partition("\n")[0]
    document = {"body": text}
    for comment in _comments(thread):
        if str(comment.get("body", "")).partition("\n")[0].rstrip("\r") == marker and _is_of_a_program(comment):
            with suppress(HTTPError):  # another program's
                _call(thread.update_method, f"{thread.comment_url}/{int(comment['id'])}", thread.headers, document)
                return "changed"
    _call("POST", thread.url, thread.headers, document)
    return "posted"


def main(arguments: list[str]) -> int:
    """Post the comment that a file holds; return 0 in any case but wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("error: expected one argument, the file with the comment\n")
        return 2
    try:
        text = Path(arguments[0]).read_text(encoding="utf-8")
        thread = thread_of(os.environ)
        done = f"not posted: {thread}" if isinstance(thread, str) else post_comment(text, thread)
    except (OSError, ValueError) as error:
        done = f"not posted: {' '.join(str(error).split())[:200]}; pull requests from forks may not comment"
    sys.stdout.write(f"comment {done}\n")
    return 0


def _github_thread(environ: Mapping[str, str], token: str) -> CommentThread | str:
    repository, event_path = environ.get("GITHUB_REPOSITORY"), environ.get("GITHUB_EVENT_PATH")
    if not repository or not event_path:
        return "not a job of GitHub or GitLab"
    event = json.loads(Path(event_path).read_bytes())
    pull_request = event.get("pull_request") if isinstance(event, dict) else None
    number = pull_request.get("number") if isinstance(pull_request, dict) else None
    if not isinstance(number, int):
        return "not a job of a pull request"
    base = f"{environ.get('GITHUB_API_URL') or 'https://api.github.com'}/repos/{quote(repository)}/issues"
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    return CommentThread(
        url=f"{base}/{number}/comments", comment_url=f"{base}/comments", headers=headers, update_method="PATCH"
    )


def _gitlab_thread(environ: Mapping[str, str], token: str) -> CommentThread | str:
    base, project = environ.get("CI_API_V4_URL"), environ.get("CI_PROJECT_ID")
    number = environ.get("CI_MERGE_REQUEST_IID")
    if not base or not project or not number:
        return "not a job of a merge request"
    url = f"{base}/projects/{quote(project, safe='')}/merge_requests/{quote(number, safe='')}/notes"
    return CommentThread(url=url, comment_url=url, headers={"PRIVATE-TOKEN": token}, update_method="PUT")


def _comments(thread: CommentThread) -> Iterator[dict[str, Any]]:
    for page in range(1, MAX_PAGES + 1):
        comments = _call("GET", f"{thread.url}?per_page={PAGE_SIZE}&page={page}", thread.headers, None)
        if not isinstance(comments, list):
            raise ValueError("the server's answer is no list of comments")  # noqa: TRY004 - of the wrong value
        yield from (comment for comment in comments if isinstance(comment, dict))
        if len(comments) < PAGE_SIZE:
            return


def _is_of_a_program(comment: dict[str, Any]) -> bool:
    """Return whether a program wrote the comment: people can copy the marker. GitLab does not tell."""
    user = comment.get("user")
    return user.get("type") == "Bot" if isinstance(user, dict) else True


def _call(method: str, url: str, headers: Mapping[str, str], document: object) -> Any:  # noqa: ANN401 - any JSON value
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise ValueError("the server's address is not an http:// or https:// URL")
    data = None if document is None else json.dumps(document).encode()
    sent = {"Content-Type": "application/json", "User-Agent": "flowai"}
    request = urllib.request.Request(url, data=data, method=method, headers=sent)  # noqa: S310 - http(s) only, see above
    for name, value in headers.items():
        request.add_unredirected_header(name, value)  # the token goes to this host only
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
        return json.loads(answer.read(_MAX_ANSWER_BYTES) or b"null")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
