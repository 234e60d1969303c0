"""The subcommands of ``depth_anything_convert``, one module each with ``command`` and EXAMPLES."""
