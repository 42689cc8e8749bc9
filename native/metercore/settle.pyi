"""Close an account: what the kernel said at the end of a tree, put over what was sampled of it."""
