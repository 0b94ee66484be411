"""A module that ends any process that imports it, as a broken native library might."""

import os

os._exit(9)
