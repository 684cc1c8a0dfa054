"""What each command of ``edge-runtime`` does: one function a command, an ``Outcome`` each.

A command's modules are imported when it runs, so that none waits for what it does not need.
"""
