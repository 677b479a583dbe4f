"""Accuracy: metrics per kind of task, and folders of images with their labels."""
