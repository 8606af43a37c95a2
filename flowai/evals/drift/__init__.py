"""Drift: a committed baseline is run again on the same models; did the answers change?"""
