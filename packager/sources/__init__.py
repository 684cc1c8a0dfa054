"""Where models come from: one file a framework, and the child that unpickles."""
