"""``/setup``: the first start in a browser, served before there is a configuration, by a service of its own."""
