"""Subscribers to the event stream, by the hundred: what a delivery costs, and how late it is."""
