"""Web: the page that people see, and the server part that hands it out."""
