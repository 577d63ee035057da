"""Evaluators: accuracy, voting, adaptive steps."""
