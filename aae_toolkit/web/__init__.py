"""Static page that runs an exported classifier in the browser, without a server application."""
