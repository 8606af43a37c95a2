"""The canary report: judges a rollout and renders the verdict."""
