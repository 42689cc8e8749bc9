"""The one place where an errno of native code becomes an exception."""
