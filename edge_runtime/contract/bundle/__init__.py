"""The bundle: archive, manifest, signature, and the one way to trust them."""
