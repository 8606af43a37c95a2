"""Upgrade of a model: the new one is tried in the old one's place, feature by feature, before a release says so."""
