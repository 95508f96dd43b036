"""What `fit train` looks at by a traced build of the plan: `--profile`, `--trace-hooks`, `--forbid-sync`. Else nothing is measured."""
