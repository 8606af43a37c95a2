"""Prompts: the dotprompt dialect with its own runtime, the project's prompt library, and the lock file."""

from flowai.prompts.library import PromptLibrary
from flowai.prompts.lockfile import LockedRelease, PromptLock, entry_hash
from flowai.prompts.messages import MediaPart, Message, RenderedPrompt, SectionPart, TextPart
from flowai.prompts.openai_messages import openai_messages
from flowai.prompts.package_prompts import load_package_prompt
from flowai.prompts.prompt import Prompt, parse_prompt

__all__ = [
    "LockedRelease",
    "MediaPart",
    "Message",
    "Prompt",
    "PromptLibrary",
    "PromptLock",
    "RenderedPrompt",
    "SectionPart",
    "TextPart",
    "entry_hash",
    "load_package_prompt",
    "openai_messages",
    "parse_prompt",
]
