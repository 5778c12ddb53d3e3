"""Testing: in-memory twins of every port and the conformance suites that hold for all of them."""
