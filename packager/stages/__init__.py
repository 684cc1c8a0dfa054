"""The steps of a build, one verb a file; none imports another."""
