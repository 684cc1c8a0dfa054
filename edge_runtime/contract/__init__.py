"""Everything that host and device share: formats and rules, no I/O beyond files."""
