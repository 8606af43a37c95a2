"""From a body of any protocol to the gateway's request: the feature or model, its messages or variables, parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import expected_one_of
from flowai.gateway.records import CompletionRequest
from flowai.server.errors import error_response

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from flowai.gateway.records import GatewayStatus
    from flowai.providers import ChatMessage
    from flowai.server.auth import Caller
    from flowai.server.errors import RefusedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """The common part of a request, in the chat protocol's terms."""

    model: str
    """Name of a feature or of a model."""
    messages: Sequence[ChatMessage]
    """Empty with `prompt_variables`."""
    prompt_variables: Mapping[str, Any] | None = None
    messages_param: str = "messages"
    """The protocol's name of the messages, for errors."""
    params: Mapping[str, Any] = field(default_factory=dict)
    response_format: Mapping[str, Any] | None = None
    user: str | None = None
    use_cache: bool = True

    def completion_request(self, gateway_status: GatewayStatus, caller: Caller) -> CompletionRequest:
        """Build the gateway's request.

        Raises:
            RefusedError: 404 no such feature or model; 400 not exactly one of messages and variables.
        """
        is_feature = self.model in gateway_status.features
        if not is_feature and self.model not in gateway_status.models:
            raise unknown_model(self.model, gateway_status.features | gateway_status.models)
        self._check_variables(is_feature=is_feature)
        return CompletionRequest(
            feature=self.model if is_feature else None,
            model=None if is_feature else self.model,
            variables=self.prompt_variables,
            messages=tuple(self.messages) or None,
            params=self.params,
            response_format=self.response_format,
            user=self.user,
            caller=caller.name,
            tenant=caller.tenant,
            session=caller.session,
            headers=caller.headers,
            use_cache=self.use_cache,
        )

    def _check_variables(self, *, is_feature: bool) -> None:
        """Check that there is exactly one of variables and messages."""
        name = self.messages_param
        if self.prompt_variables is None:
            if not self.messages:
                raise error_response(
                    400,
                    f"send `{name}`, or `prompt_variables` for the feature's own prompt",
                    code="missing_required_parameter",
                    param=name,
                )
        elif self.messages:
            text = f"`{name}` and `prompt_variables` exclude each other: a feature's prompt has its own messages"
            raise error_response(400, text, param="prompt_variables")
        elif not is_feature:
            text = f"`{self.model}` is a model and has no prompt: `prompt_variables` need a feature"
            raise error_response(400, text, param="prompt_variables")


def unknown_model(name: str, known: frozenset[str]) -> RefusedError:
    """Build the error for a name that is neither a feature nor a model, with OpenAI's code and status."""
    text = f"no feature or model `{name}`; {expected_one_of(known, found=name)}"
    return error_response(404, text, code="model_not_found", param="model")


def drop_no_op_params(
    value: Mapping[str, Any], no_op_values: Mapping[str, tuple[Any, ...]], whole_numbers: Collection[str]
) -> dict[str, Any]:
    """Return the parameters of a body without nulls and without values that have no effect.

    Args:
        value: the body.
        no_op_values: unsupported parameters, with their values without effect.
        whole_numbers: parameters that may be written as `100.0`, a whole number in JSON.

    Raises:
        RefusedError: 400 an unsupported parameter has another value.
    """
    params = {}
    for name, found in value.items():
        if found is None:  # means absent in OpenAI's API
            continue
        if name in no_op_values:
            if not any(found == neutral and type(found) is type(neutral) for neutral in no_op_values[name]):
                expected = " or ".join(msgspec.json.encode(neutral).decode() for neutral in no_op_values[name])
                text = f"`{name}`: only {expected} is supported" if expected else f"`{name}` is not supported"
                raise error_response(400, text, code="unsupported_parameter", param=name)
        elif name in whole_numbers and isinstance(found, float) and found.is_integer():
            params[name] = int(found)
        else:
            params[name] = found
    return params


def check_types(items: Any, path: str, supported: Collection[str]) -> None:  # noqa: ANN401 - JSON is anything
    """Refuse items of a list by their `type`, where it is a text.

    Raises:
        RefusedError: 400 with the type.
    """
    if not isinstance(items, list):
        return
    for index, item in enumerate(items):
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind not in supported:
            text = f"`{path}.{index}`: the type `{kind[:64]}` is not supported; {expected_one_of(supported)}"
            raise error_response(400, text, code="unsupported_parameter", param=f"{path}.{index}.type")


def check_content_types(message: Mapping[str, Any], path: str, supported: Mapping[str, Collection[str]]) -> None:
    """Refuse parts of a message's content by their `type`, if its role is a known one.

    Args:
        message: the message.
        path: of its content.
        supported: types by role.

    Raises:
        RefusedError: 400 with the type.
    """
    role = message.get("role")
    if isinstance(role, str) and role in supported:
        check_types(message.get("content"), path, supported[role])
