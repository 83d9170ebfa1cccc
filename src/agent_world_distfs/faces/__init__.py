"""Interfaces for people and programs. Only these print, read the environment or exit."""
