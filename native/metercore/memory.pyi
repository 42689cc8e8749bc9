"""Memory that one attempt's tree holds: anonymous + shared memory + swap, never the page cache of files it touched."""
