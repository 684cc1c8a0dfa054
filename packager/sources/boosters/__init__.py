"""Gradient boosters of other libraries: XGBoost, LightGBM and CatBoost."""
