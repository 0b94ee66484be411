"""A worked example: copy the folder `shop_reports`, run it with `python -m shop_reports.daily`, register it, launch it."""
