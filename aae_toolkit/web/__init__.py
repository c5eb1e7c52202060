"""A static page on which an exported classifier runs in the browser, with no server behind it."""
