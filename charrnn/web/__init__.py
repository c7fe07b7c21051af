"""A language model, or runs, as a web page: HTML, CSS and JavaScript files, and the code that assembles them."""
