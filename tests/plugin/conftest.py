"""The tests inside the package run where it is installed, see `test_plugin`."""

collect_ignore = ["package"]
