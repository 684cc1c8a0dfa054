"""scikit-learn's models: opened, described, mended and converted, all in the child."""
