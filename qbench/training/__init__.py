"""Training: a trial in, epoch records and result files out; knows neither Ray nor MLflow."""
