"""The schema of `conf/` and of what a checkpoint carries: every setting, its type, its default, its range.

Dataclasses are the schema, YAML files hold values. Hydra refuses a wrong key or type while it composes; a range is
checked in `__post_init__`, when the composed configuration becomes one of these objects. Nothing here imports torch.
"""
