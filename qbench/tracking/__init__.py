"""MLflow as a view of the result files, written by one process; the only place of mlflow."""
