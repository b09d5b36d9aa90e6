"""Language models behind any OpenAI-compatible endpoint (extra ``llm``)."""

from __future__ import annotations

from mtr_env.llm.client import ChatClient, Completion, ModelError, Spent

__all__ = ["ChatClient", "Completion", "ModelError", "Spent"]
